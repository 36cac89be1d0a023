"""Members that a spec declares, which a forward text reads as `self.<name>`."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from service.architectures.text.errors import GrammarError
from service.architectures.text.syntax import Text
from service.specs.architecture import ClassSpec, ModuleSpec, Node, ParameterSpec, SequentialSpec
from service.specs.base import did_you_mean, list_names

_OF_DICTS = frozenset({"keys", "values", "items"})


@dataclass(frozen=True)
class Entries:
    """A list or dict of a module: the submodules or parameters declared as `blocks.0` or `heads.price`.

    Attributes:
        by_key: The entries by position or key.
    """

    by_key: Mapping[str, Node | ParameterSpec]


@dataclass(frozen=True)
class Value:
    """A buffer, a constant, or `self.training`."""


Member = Node | Entries | ParameterSpec | Value


@dataclass(frozen=True)
class Members:
    """The members of a module and of its submodules.

    Attributes:
        spec: The module.
        text: The text, for the locations of errors.
    """

    spec: ModuleSpec
    text: Text

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that the module or one of its submodules declares, at any depth."""
        return frozenset(name for node in _descendants(self.spec) for name in _members(node) or ())

    @cached_property
    def has_class(self) -> bool:
        """Whether a submodule, at any depth, is the text of a class."""
        return any(isinstance(node, ClassSpec) for node in _descendants(self.spec))

    def find(self, node: ast.expr) -> Member | None:
        """Follow a chain such as `self.body[0]` or `self.block.out` through the declared members.

        Returns:
            The member; None for a value that only a run knows, such as an attribute of a layer.

        Raises:
            GrammarError: If a part of the chain is not declared.
        """
        if isinstance(node, ast.Name):  # `self`
            return self.spec
        assert isinstance(node, ast.Attribute | ast.Subscript)
        owner = self.find(node.value)
        if owner is None or isinstance(owner, ParameterSpec | Value):
            return None
        return self._entry(node, owner) if isinstance(node, ast.Subscript) else self._attribute(node, owner)

    def _attribute(self, node: ast.Attribute, owner: Node | Entries) -> Member | None:
        own = _members(owner)
        if own is None or node.attr == "training":
            return None if own is None else Value()
        if node.attr in own:
            return own[node.attr]
        is_method = node.attr in _OF_DICTS if isinstance(owner, Entries) else node.attr == "forward"
        if is_method and owner is not self.spec:
            return None
        raise self._error(node, partial(_undeclared_message, node.attr, own))

    def _entry(self, node: ast.Subscript, owner: Node | Entries) -> Member | None:
        own, index, sign = _members(owner), node.slice, 1
        if own is None:
            return None
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            index, sign = index.operand, -1
        if not isinstance(index, ast.Constant) and not isinstance(owner, ModuleSpec):
            return None  # an index that a run computes, or a slice
        key = index.value if isinstance(index, ast.Constant) else None
        if isinstance(owner, Entries) and "0" not in own and isinstance(key, str):
            if key not in own:
                raise self._error(node, partial(_undeclared_message, key, own))
            return own[key]
        # `type`, as True is an int too.
        if isinstance(owner, ModuleSpec) or (isinstance(owner, Entries) and "0" not in own):
            key = None
        if type(key) is not int:
            raise self._error(
                node,
                "Only a layer of a sequential or a list has an index: its position, from 0, as in "
                "`self.body[0]`; use `self.body.name` for a name.",
            )
        position = sign * key
        if not -len(own) <= position < len(own):
            kind = "list" if isinstance(owner, Entries) else "sequential"
            raise self._error(node, f"The {kind} has {len(own)} layers; positions start at 0.")
        return list(own.values())[position]

    def _error(self, node: ast.AST, remedy: str | Callable[[], str]) -> GrammarError:
        return GrammarError(self.text.location_of(node), remedy)


def starts_at_self(node: ast.expr) -> bool:
    """Return whether a chain of attributes and subscripts starts at `self`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def _members(owner: Node | Entries) -> Mapping[str, Member] | None:
    """Return the declared members by name, in order; None for a layer or a class, which only a run knows."""
    if isinstance(owner, SequentialSpec):
        return {layer.name or str(position): layer for position, layer in enumerate(owner.layers)}
    if isinstance(owner, Entries):
        return owner.by_key
    if not isinstance(owner, ModuleSpec):
        return None
    own: dict[str, Member] = {}
    listed: dict[str, dict[str, Node | ParameterSpec]] = {}
    declared: dict[str, Node | ParameterSpec] = {**owner.submodules, **owner.parameters}
    for name, member in declared.items():
        first, dot, key = name.partition(".")
        if dot:
            listed.setdefault(first, {})[key] = member
        else:
            own[name] = member
    own |= {name: Entries(entries) for name, entries in listed.items()}
    return own | dict.fromkeys([*owner.buffers, *owner.constants], Value())


def _descendants(node: Node) -> Iterator[Node]:
    """Iterate over a node and its submodules, at any depth."""
    yield node
    if isinstance(node, ModuleSpec | SequentialSpec):
        for child in node.submodules.values() if isinstance(node, ModuleSpec) else node.layers:
            yield from _descendants(child)


def _undeclared_message(name: str, declared: Mapping[str, Member]) -> str:
    hint = did_you_mean(name, declared) or f"; declared names: {list_names(declared) or 'none'}."
    return f"`{name}` is not declared{hint}"
