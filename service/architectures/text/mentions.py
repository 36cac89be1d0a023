"""Names that the statements of a text mention and assign."""

import ast

from service.architectures.text.attributes import HOOKS
from service.architectures.text.classes import SPECIAL


def mentioned_names(tree: ast.Module) -> frozenset[str]:
    """Return the names that the classes of a text mention as variables, attributes or strings.

    The body of a method or function counts once its own name is mentioned; `forward` and special methods are
    called in any case.
    """
    names: set[str] = set()
    deferred: dict[str, list[ast.AST]] = {}
    waiting: list[ast.AST] = []

    def defer(name: str, node: ast.AST) -> None:
        if name in names:
            waiting.append(node)
        else:
            deferred.setdefault(name, []).append(node)

    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            waiting.append(statement)
        else:
            for name in assigned([statement]):
                defer(name, statement)
    while waiting:
        node = waiting.pop()
        found = _mentioned(node)
        if found is not None and found not in names:
            names.add(found)
            waiting += deferred.pop(found, [])
        for child in ast.iter_child_nodes(node):
            if (
                isinstance(node, ast.ClassDef)
                and isinstance(child, ast.FunctionDef)
                and child.name not in SPECIAL | HOOKS
            ):
                defer(child.name, child)
            else:
                waiting.append(child)
    return frozenset(names) | SPECIAL | HOOKS


def _mentioned(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def assigned(statements: list[ast.stmt]) -> set[str]:
    """Return the names that statements assign, without those inside nested functions and classes."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        if not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return names
