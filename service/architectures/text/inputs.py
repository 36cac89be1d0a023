"""Inputs of a forward text: the names that it reads before it assigns them."""

import ast
import keyword
from collections.abc import Iterable, Sequence

from fitserve.describe.functions import RESERVED_NAMES
from service.architectures.text.names import DEFAULT_IMPORTS, GLOBALS

DEFAULT_INPUT = "input"
# Names that a text reads without assigning them, and that are no inputs: `device` stands in pasted lines.
_KNOWN = RESERVED_NAMES | {"device"}


def is_valid_name(name: str) -> bool:
    """Return whether an input or a variable may have this name."""
    return name not in RESERVED_NAMES and not name.startswith("__") and not keyword.iskeyword(name)


def free_names(statements: Sequence[ast.stmt]) -> dict[str, ast.Name]:
    """Return the names that are read before they are assigned, with their first occurrence.

    Names of called functions do not count, and a name of Python's own (`type`) only if there is no other.
    """
    reader = _Reader()
    reader.read(statements)
    others = {name: node for name, node in reader.free.items() if name not in GLOBALS}
    return others or reader.free


class _Reader(ast.NodeVisitor):
    """Reads statements in the order in which they run.

    Attributes:
        free: Names that are read before they are assigned, with their first occurrence.
    """

    def __init__(self) -> None:
        self.free: dict[str, ast.Name] = {}
        self._assigned: set[str] = set(_KNOWN)

    def read(self, nodes: Iterable[ast.AST | None]) -> None:
        """Read nodes one after another."""
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._assigned.add(node.id)
        elif node.id not in self._assigned:
            self.free.setdefault(node.id, node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        is_module = isinstance(node.value, ast.Name) and node.value.id in DEFAULT_IMPORTS  # `np.pi`
        self.read([] if is_module else [node.value])

    def visit_Call(self, node: ast.Call) -> None:
        called = [] if isinstance(node.func, ast.Name) else [node.func]
        self.read([*called, *node.args, *node.keywords])

    def visit_Assign(self, node: ast.Assign) -> None:
        self.read([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.read([node.value, node.target])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):  # which is read, too
            self.visit(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
        self.read([node.value, node.target])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.read([node.value, node.target])

    def visit_For(self, node: ast.For) -> None:
        self.read([node.iter, node.target, *node.body, *node.orelse])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._assigned.add(node.name)
        self._inside(node.args, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inside(node.args, [node.body])

    def _inside(self, arguments: ast.arguments, body: Iterable[ast.AST]) -> None:
        self.read([*arguments.defaults, *arguments.kw_defaults])
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        starred = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
        outside = set(self._assigned)
        self._assigned |= {each.arg for each in (*names, *starred)}
        self.read(body)
        self._assigned = outside

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        outside = set(self._assigned)
        for each in node.generators:
            self.read([each.iter, each.target, *each.ifs])
        self.read([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._assigned = outside

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension
