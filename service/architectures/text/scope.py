"""What the names in a forward text lead to: the tables, the inputs, and what the spec declares."""

import ast
import keyword
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fitserve.describe.functions import MODULES, RESERVED_NAMES
from service.architectures.text.errors import Refused
from service.architectures.text.nodes import Members
from service.architectures.text.syntax import Text
from service.specs.architecture import LayerSpec, ModuleSpec, Node, SequentialSpec
from service.specs.base import did_you_mean


class Scope:
    """The submodules and parameters that a spec declares, as a text reaches them through `self`."""

    def __init__(self, spec: ModuleSpec, text: Text) -> None:
        self._spec = spec
        self._text = text

    def resolve(self, node: ast.expr) -> tuple[Members, Node]:
        """The way through the declared submodules that `self.body[0]` or `self.block.out` goes.

        Raises:
            Refused: when it leads nowhere.
        """
        if isinstance(node, ast.Subscript):
            return self._resolve_position(node)
        if isinstance(node, ast.Name):
            return Members((), "self"), self._spec
        if not isinstance(node, ast.Attribute):
            self._refuse(node, "This is no submodule.")
        members, owner = self.resolve(node.value)
        known = _submodules(owner)
        if node.attr not in known:
            if node.attr == "training" or node.attr in getattr(owner, "parameters", ()):
                self._refuse(node, "This is no submodule that could be called.")
            self._refuse(node, no_member(node.attr, owner))
        return Members((*members.names, node.attr), f"{members.written}.{node.attr}"), known[node.attr]

    def _resolve_position(self, node: ast.Subscript) -> tuple[Members, Node]:
        members, owner = self.resolve(node.value)
        position = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if not isinstance(owner, SequentialSpec) or type(position) is not int:
            self._refuse(node, "Only the layers of a sequential are counted, from 0, as in `self.body[0]`.")
        if position >= len(owner.layers):
            self._refuse(node, f"There are {len(owner.layers)} layers, counted from 0.")
        inner = owner.layers[position]
        name = inner.name or str(position)
        return Members((*members.names, name), f"{members.written}[{position}]"), inner

    def is_tensor(self, node: ast.expr) -> bool:
        """Whether a chain from `self` has passed the submodules: `self.scale`, `self.emb.weight`, a call."""
        if isinstance(node, ast.Call):
            return True
        if not isinstance(node, ast.Attribute | ast.Subscript):
            return False
        if self.is_tensor(node.value):
            return True
        if isinstance(node, ast.Subscript):
            return False
        try:
            _, owner = self.resolve(node.value)
        except Refused:
            return False
        return isinstance(owner, LayerSpec) or node.attr in getattr(owner, "parameters", ())

    def _refuse(self, node: ast.AST, remedy: str) -> NoReturn:
        raise Refused(self._text.spot(node), remedy)


def _submodules(node: Node) -> Mapping[str, Node]:
    if isinstance(node, ModuleSpec):
        return node.submodules
    if isinstance(node, SequentialSpec):
        return {inner.name or str(position): inner for position, inner in enumerate(node.layers)}
    return {}


def no_member(name: str, owner: Node) -> str:
    """What is said of a name that a node doesn't declare."""
    known = [*_submodules(owner), *getattr(owner, "parameters", ())]
    hint = did_you_mean(name, known) or f"; there are: {', '.join(known) or 'none'}."
    return f"`{name}` is not declared{hint}"


def begins_at_self(node: ast.expr) -> bool:
    """Whether a chain of attributes and subscripts begins at `self`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def global_name(node: ast.expr) -> str | None:
    """The name in our tables that a chain which begins at `torch`, `F`, `math` or `nn` means."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in RESERVED_NAMES - {"self"}:
        return None
    *home, name = [node.id, *reversed(parts)]
    return f"{MODULES.get('.'.join(home), '.'.join(home))}.{name}".lstrip(".")


def free_names(statements: Sequence[ast.stmt]) -> dict[str, ast.Name]:
    """The names that are read before they are assigned, each where it is read first."""
    free: dict[str, ast.Name] = {}
    assigned: set[str] = set()
    for statement in statements:
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        called = {id(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)}
        for node in sorted(names, key=lambda node: (node.lineno, node.col_offset)):
            augmented = isinstance(statement, ast.AugAssign) and node is statement.target
            known = node.id in assigned or node.id in RESERVED_NAMES or id(node) in called
            if not known and (augmented or not is_store(node)):
                free.setdefault(node.id, node)
        assigned |= {node.id for node in names if is_store(node)}
    return free


def can_be_named(name: str) -> bool:
    """Whether an input or a variable may have this name."""
    return name not in RESERVED_NAMES and not name.startswith("__") and not keyword.iskeyword(name)


def is_store(node: ast.AST) -> bool:
    """Whether a node assigns to a name."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
