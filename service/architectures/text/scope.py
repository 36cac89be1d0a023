"""Names in a forward text: tables of functions, inputs, and the submodules and parameters of a spec."""

import ast
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fitserve.describe.functions import MODULES, RESERVED_NAMES
from service.architectures.text.errors import GrammarError
from service.architectures.text.nodes import SubmodulePath
from service.architectures.text.syntax import Text
from service.specs.architecture import LayerSpec, ModuleSpec, Node, ParameterSpec, SequentialSpec
from service.specs.base import did_you_mean, list_names


@dataclass(frozen=True)
class Entries:
    """A list or dict of a module: the submodules or parameters declared as `blocks.0` or `heads.price`.

    Attributes:
        by_key: The entries by position or key.
    """

    by_key: Mapping[str, Node | ParameterSpec]


Owner = Node | Entries


class Scope:
    """Submodules and parameters of a spec, which a text accesses through `self`.

    Args:
        spec: The module.
        text: The text, for the locations of errors.
    """

    def __init__(self, spec: ModuleSpec, text: Text) -> None:
        self._spec = spec
        self._text = text

    def resolve(self, node: ast.expr) -> tuple[SubmodulePath, Owner | ParameterSpec]:
        """Follow a chain such as `self.body[0]` or `self.block.out` through the declared submodules.

        Returns:
            The path, and the spec of the submodule at its end, or of a parameter `self.weights[0]`.

        Raises:
            GrammarError: If a part of the chain is not declared.
        """
        if isinstance(node, ast.Subscript):
            return self._resolve_position(node)
        if isinstance(node, ast.Name):  # `self`
            return SubmodulePath((), "self"), self._spec
        if not isinstance(node, ast.Attribute):
            raise self._error(node, "This is not a submodule.")
        path, owner = self.resolve(node.value)
        submodules = _submodules(owner)
        if node.attr not in submodules:
            if entries := _entries(owner, node.attr):
                path = SubmodulePath((*path.names, node.attr), f"{path.text}.{node.attr}")
                return path, Entries(entries)
            if node.attr == "training" or node.attr in declared_values(owner):
                raise self._error(node, "Only submodules can be called, and this is not one.")
            raise self._error(node, partial(undeclared_message, node.attr, owner))
        return SubmodulePath((*path.names, node.attr), f"{path.text}.{node.attr}"), submodules[node.attr]

    def _resolve_position(self, node: ast.Subscript) -> tuple[SubmodulePath, Owner | ParameterSpec]:
        path, owner = self.resolve(node.value)
        index, sign = node.slice, 1
        if isinstance(owner, Entries) and isinstance(index, ast.Constant) and index.value in owner.by_key:
            key = str(index.value)  # `self.heads["price"]`
            return SubmodulePath((*path.names, key), f"{path.text}[{key!r}]"), owner.by_key[key]
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            index, sign = index.operand, -1
        number = index.value if isinstance(index, ast.Constant) else None
        # `type`, as True is an int too.
        members = _members(owner)
        if members is None or type(number) is not int:
            raise self._error(
                node,
                "Only a layer of a sequential or a list has an index: its position, from 0, as in "
                "`self.body[0]`; use `self.body.name` for a name.",
            )
        position = sign * number
        if not -len(members) <= position < len(members):
            kind = "list" if isinstance(owner, Entries) else "sequential"
            raise self._error(node, f"The {kind} has {len(members)} layers; positions start at 0.")
        name = [*members][position]
        return SubmodulePath((*path.names, name), f"{path.text}[{position}]"), members[name]

    def is_value(self, node: ast.expr) -> bool:
        """Return whether a chain from `self` denotes a value, and no submodule.

        Values are `self.scale`, `self.sizes[0]` of a constant, `self.emb.weight`, and the results of calls.
        """
        if isinstance(node, ast.Call):
            return True
        if not isinstance(node, ast.Attribute | ast.Subscript):
            return False
        if self.is_value(node.value):
            return True
        try:
            if isinstance(node, ast.Subscript):
                return isinstance(self.resolve(node)[1], ParameterSpec)
            _, owner = self.resolve(node.value)
        except GrammarError:
            return False
        return isinstance(owner, LayerSpec) or node.attr in declared_values(owner)

    def _error(self, node: ast.AST, remedy: str | Callable[[], str]) -> GrammarError:
        return GrammarError(self._text.location_of(node), remedy)


def _submodules(node: Owner | ParameterSpec) -> Mapping[str, Node]:
    if isinstance(node, ModuleSpec):
        return node.submodules
    if isinstance(node, SequentialSpec):
        return {layer.name or str(position): layer for position, layer in enumerate(node.layers)}
    if isinstance(node, Entries):
        return {key: each for key, each in node.by_key.items() if not isinstance(each, ParameterSpec)}
    return {}


def _entries(node: Owner | ParameterSpec, name: str) -> Mapping[str, Node | ParameterSpec]:
    """Return the entries of a list or dict of a module by position or key; none if it has no such one."""
    if not isinstance(node, ModuleSpec):
        return {}
    declared: dict[str, Node | ParameterSpec] = {**node.parameters, **node.submodules}
    return {key[len(name) + 1 :]: each for key, each in declared.items() if key.startswith(f"{name}.")}


def _members(node: Owner | ParameterSpec) -> Mapping[str, Node | ParameterSpec] | None:
    """Return the members of a sequential or a list in order; None for something without positions."""
    if isinstance(node, SequentialSpec):
        return _submodules(node)
    if isinstance(node, Entries) and "0" in node.by_key:
        return node.by_key
    return None


def declared_values(node: Owner | ParameterSpec) -> Mapping[str, object]:
    """Return the parameters, buffers and constants that a node itself declares, by name."""
    if isinstance(node, Entries):
        return {key: each for key, each in node.by_key.items() if isinstance(each, ParameterSpec)}
    if not isinstance(node, ModuleSpec):
        return {}
    return {**node.parameters, **node.buffers, **node.constants}


def undeclared_message(name: str, owner: Owner | ParameterSpec) -> str:
    """Return the message for a name that a node does not declare."""
    names = [*_submodules(owner), *declared_values(owner)]
    hint = did_you_mean(name, names) or f"; declared names: {list_names(names) or 'none'}."
    return f"`{name}` is not declared{hint}"


def starts_at_self(node: ast.expr) -> bool:
    """Return whether a chain of attributes and subscripts starts at `self`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def table_name(node: ast.expr) -> str | None:
    """Return the name that a chain such as `torch.nn.functional.relu` has in the tables of functions.

    Returns:
        `F.relu`; None if the chain does not start at `torch`, `F`, `math` or `nn`.
    """
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in RESERVED_NAMES - {"self"}:
        return None
    *modules, name = [node.id, *reversed(parts)]
    module = ".".join(modules)
    return f"{MODULES.get(module, module)}.{name}".lstrip(".")


def free_names(statements: Sequence[ast.stmt]) -> dict[str, ast.Name]:
    """Return the names that are read before they are assigned, with their first occurrence.

    Names of called functions do not count. One pass finds all names, as statements run in order and without
    branches.
    """
    free: dict[str, ast.Name] = {}
    assigned: set[str] = set()
    for statement in statements:
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        called = {id(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)}
        for node in sorted(names, key=lambda node: (node.lineno, node.col_offset)):
            # The target of `x += 1` has the context Store, but is read.
            is_augmented = isinstance(statement, ast.AugAssign) and node is statement.target
            # `device`, as in `x.to(device)`, is no input either.
            is_known = node.id in {*assigned, *RESERVED_NAMES, "device"} or id(node) in called
            if not is_known and (is_augmented or not is_store(node)):
                free.setdefault(node.id, node)
        # After the loop: in `x = f(x)` the right side is read first.
        assigned |= {node.id for node in names if is_store(node)}
    return free


def is_valid_name(name: str) -> bool:
    """Return whether an input or a variable may have this name."""
    return name not in RESERVED_NAMES and not name.startswith("__") and not keyword.iskeyword(name)


def is_store(node: ast.AST) -> bool:
    """Return whether a syntax node is a name that is assigned to."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
