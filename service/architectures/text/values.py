"""Values of a class text that Python's and PyTorch's own types do not cover: its functions and classes.

Everything else that a text computes with is a plain value: numbers, strings, lists, dictionaries, tensors,
modules, and the classes of PyTorch themselves. Instances of a text's classes are Python objects whose type is
made from the text: a subclass of `nn.Module`, or of `Record` for plain classes.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any, Protocol

from torch import nn

from service.architectures.text.evaluation import Frame, Run

ITERATOR: Any = type(iter([])) | GeneratorType  # of generators, `zip`, `map`, …


class Record:
    """Base class of the instances of plain classes."""


@dataclass(frozen=True, slots=True)
class Members(Mapping[str, Any]):
    """`_modules`, `_parameters` or `_buffers` of a module.

    Attributes:
        module: The module.
        store: The name of the attribute.
    """

    module: nn.Module
    store: str

    @property
    def values_by_name(self) -> dict[str, Any]:
        """The module's own dictionary."""
        found: dict[str, Any] = self.module.__dict__[self.store]
        return found

    def __getitem__(self, name: str) -> Any:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


class NamedValues(tuple[Any, ...]):
    """Base class of named tuples; their fields are those of the class of the text."""


class DefaultDict(dict[Any, Any]):
    """`collections.defaultdict`.

    Attributes:
        factory: Function without arguments that makes the value of a missing key; None for none.
    """

    factory: Any = None


class Member(Record):
    """Base class of the members of enumerations, which have a `name` and a `value`.

    Members that are strings or integers, too, are equal to these.
    """

    name: str
    value: Any

    @property
    def is_mixed(self) -> bool:
        """Whether it is a string or an integer, too."""
        own = text_class(type(self))
        return own is not None and own.is_mixed

    def __eq__(self, other: object) -> bool:
        if not self.is_mixed:
            return self is other
        return bool(self.value == (other.value if isinstance(other, Member) and other.is_mixed else other))

    def __hash__(self) -> int:
        return hash(self.value) if self.is_mixed else id(self)

    def __deepcopy__(self, memo: Any) -> "Member":
        return self


class Body(Protocol):
    """Statements of a function."""

    def run(self, frame: Frame) -> Any:
        """Run the statements, and return the value that the function returns."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a function.

    Attributes:
        positional: Names of those that may be passed by position, in order.
        positional_only: Number of those that cannot be passed by name.
        variadic: Name of `*args`, if any.
        named: Names of those that can only be passed by name.
        further: Name of `**kwargs`, if any.
    """

    positional: tuple[str, ...]
    positional_only: int = 0
    variadic: str | None = None
    named: tuple[str, ...] = ()
    further: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A function as it is written.

    Attributes:
        name: Its name; `<lambda>` for one without.
        at: Its syntax node.
        parameters: Its parameters.
        body: Its statements.
        without_gradient: Whether it has the decorator `torch.no_grad`.
    """

    name: str
    at: ast.AST
    parameters: Parameters
    body: Body
    without_gradient: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TextFunction:
    """A function of the text.

    Attributes:
        definition: The function as it is written.
        frame: The frame in which it was defined; None at the top of the text.
        owner: The class in whose body it was defined, if any.
        defaults: Default values by parameter.
    """

    definition: Definition
    frame: Frame | None
    owner: type | None
    defaults: Mapping[str, Any]

    @property
    def __name__(self) -> str:
        return self.definition.name

    def __deepcopy__(self, memo: Any) -> "TextFunction":
        return self


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A function in the body of a class with one of the decorators of `DESCRIPTORS`.

    Attributes:
        kind: Name of the decorator.
        function: The function.
        setter: The function that sets a property, if any.
    """

    kind: str
    function: Any
    setter: Any = None


@dataclass(slots=True)
class TextClass:
    """The definition of a class of the text.

    Attributes:
        run: The evaluation of the text.
        attributes: Functions and values of the body, by name.
        fields: Names of the fields of a dataclass or a named tuple, in order; None for other classes.
        members: Members of an enumeration by name; None for other classes.
        is_mixed: Whether these are strings or integers, too.
        draws: Of the class of a model, whether its constructor draws random numbers beside those of layers.
        shares_memory: Of the class of a model, whether tensors outside of its state are computed from
            parameters, or lie in the memory of the state.
    """

    run: Run
    attributes: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] | None = None
    draws: bool = False
    shares_memory: bool = False
    members: dict[str, Member] | None = None
    is_mixed: bool = False


@dataclass(frozen=True, slots=True)
class Native:
    """A function that this package computes itself, such as `len`.

    Attributes:
        name: Name for messages.
        call: Computes the value from the evaluation, the syntax node and the arguments.
        takes: Its parameters as they are written, such as `values, /, start=0`; None if `call` raises a
            TypeError for others.
    """

    name: str
    call: Callable[[Run, ast.AST, Sequence[Any], Mapping[str, Any]], Any]
    takes: str | None = None

    def __deepcopy__(self, memo: Any) -> "Native":
        return self


@dataclass(frozen=True, slots=True)
class Bound:
    """A function with a first argument: `x.view`, `self.block`.

    Attributes:
        function: A `Native`, a `TextFunction` or a function of the table.
        first: Its first argument.
    """

    function: Any
    first: Any


@dataclass(frozen=True, slots=True)
class Partial:
    """`functools.partial`."""

    function: Any
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def __deepcopy__(self, memo: Any) -> "Partial":
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Cached:
    """A function with the decorator `functools.lru_cache` or `functools.cache`.

    Attributes:
        function: The function.
        results: Results of the construction by arguments.
    """

    function: Any
    results: dict[Any, Any] = field(default_factory=dict)

    def __deepcopy__(self, memo: Any) -> "Cached":
        return self


@dataclass(frozen=True, slots=True)
class ErrorType:
    """A class of exceptions, which only `raise` and `except` use.

    Attributes:
        name: Its name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Super:
    """`super()`.

    Attributes:
        owner: Attributes are looked up in the classes behind this one.
        instance: The object.
    """

    owner: type
    instance: Any


@dataclass(frozen=True, slots=True)
class Namespace:
    """A module of PyTorch or Python.

    Attributes:
        name: Its name in the tables.
        find: Returns a member by name; None if there is none that a text can use.
        exists: Returns whether the module has a name, whether a text can use it or not.
    """

    name: str
    find: Callable[[str], Any] = field(repr=False, compare=False)
    exists: Callable[[str], bool] = field(repr=False, compare=False)


# The classes of the text by their Python type, attached to the type itself.
TEXT_CLASS = "__text_class__"


def text_class(type_: type) -> TextClass | None:
    """Return what the text says about a class; None for a class of PyTorch or Python."""
    found = type_.__dict__.get(TEXT_CLASS)
    return found if isinstance(found, TextClass) else None


def find_attribute(type_: type, name: str, after: type | None = None) -> tuple[bool, Any]:
    """Look up an attribute in the classes of the text.

    Args:
        type_: The class of the instance.
        name: The attribute.
        after: Look only behind this class in the order of resolution, as `super` does.

    Returns:
        Whether there is one, and its value.
    """
    order = type_.__mro__
    for each in order[order.index(after) + 1 :] if after is not None else order:
        own = text_class(each)
        if own is not None and name in own.attributes:
            return True, own.attributes[name]
    return False, None


def native_base(type_: type, after: type | None = None) -> type:
    """Return the first class in the order of resolution that is not of the text.

    Args:
        type_: The class of the instance.
        after: Look only behind this class.
    """
    order = type_.__mro__
    rest = order[order.index(after) + 1 :] if after is not None else order
    return next(each for each in rest if text_class(each) is None)
