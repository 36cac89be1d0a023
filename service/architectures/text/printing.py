"""Printing of forward texts as Python, without what has no effect: docstrings, annotations and comments."""

import ast
import copy
from collections.abc import Iterable
from typing import Any


def print_statements(statements: Iterable[ast.stmt]) -> str:
    """Print statements, one on each line."""
    plain = _Plain()
    printed = (plain.visit(copy.deepcopy(each)) for each in statements)
    return "\n".join(ast.unparse(each) for each in printed if each is not None)


def print_expression(node: ast.expr) -> str:
    """Print an expression."""
    return ast.unparse(node)


class _Plain(ast.NodeTransformer):
    """Removes what has no effect from a syntax tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        return None if isinstance(node.value, ast.Constant) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None  # Python would evaluate it
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self._filled(node)

    def _filled(self, node: Any) -> Any:
        """Visit a statement with a body, in which at least `pass` remains."""
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    visit_If = visit_For = visit_While = visit_With = _filled
