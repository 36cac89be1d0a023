"""Expressions of a class text: nodes that compute a value.

The translation makes them of Python's syntax nodes, which they keep for the locations of errors.
"""

import ast
import operator
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.attributes import read_attribute
from service.architectures.text.calls import call, on_meta, on_one_device, sized
from service.architectures.text.errors import ForwardError
from service.architectures.text.evaluation import Frame, Run
from service.architectures.text.methods import TENSOR_METHODS, check_mutable, percent_formatted
from service.architectures.text.operators import BINARY, NUMBERS, Operator, apply, bounded
from service.architectures.text.records import compare_members
from service.architectures.text.sequences import (
    CONTAINERS,
    formatted,
    iterate,
    listed,
    quoted,
    text_of,
    truth,
)
from service.architectures.text.values import (
    Bound,
    DefaultDict,
    Definition,
    ErrorType,
    Member,
    Members,
    Namespace,
    Record,
    Super,
    TextFunction,
    find_attribute,
    text_class,
)
from service.specs.base import did_you_mean

MAX_UNCHECKED = 16  # elements of a display whose size needs no check
CHECKED_EVERY = 256  # elements of a comprehension


@dataclass(frozen=True, slots=True)
class Expression(ABC):
    """A node that has a value.

    Attributes:
        at: The syntax node that it was translated from.
    """

    at: ast.AST

    @abstractmethod
    def evaluate(self, frame: Frame) -> Any:
        """Compute the value."""


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """A literal, or a name of PyTorch or Python."""

    value: Any

    def evaluate(self, frame: Frame) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class Variable(Expression):
    """A name that the text assigns."""

    name: str

    def evaluate(self, frame: Frame) -> Any:
        scope: Frame | None = frame
        while scope is not None:
            if self.name in scope.names:
                return scope.names[self.name]
            scope = scope.parent
        return frame.run.fail(self.at, f"`{self.name}` has no value yet.")


@dataclass(frozen=True, slots=True)
class Unsupported(Expression):
    """A name in a branch that only fails if the branch is taken."""

    message: str

    def evaluate(self, frame: Frame) -> Any:
        return frame.run.fail(self.at, self.message)


@dataclass(frozen=True, slots=True)
class Starred:
    """`*values` among arguments or elements."""

    at: ast.AST
    value: Expression


def evaluate_all(items: Sequence[Expression | Starred], frame: Frame) -> list[Any]:
    """Compute the values of arguments or elements."""
    values: list[Any] = []
    for item in items:
        if isinstance(item, Starred):
            values += listed(frame.run, item.at, item.value.evaluate(frame))
        else:
            values.append(item.evaluate(frame))
    return values


@dataclass(frozen=True, slots=True)
class Display(Expression):
    """A tuple, list or set display.

    Attributes:
        items: The elements.
        make: `tuple`, `list` or `set`.
    """

    items: tuple[Expression | Starred, ...]
    make: Callable[[list[Any]], Any]

    def evaluate(self, frame: Frame) -> Any:
        values = evaluate_all(self.items, frame)
        if self.make is set:
            values = [hashable(frame.run, self.at, each) for each in values]
        # `n = (n, n)` doubles the number of elements, and so the time of all that visits them.
        if len(values) > MAX_UNCHECKED or any(isinstance(each, tuple | list | dict) for each in values):
            frame.run.guard(self.at, lambda: bounded(values), ())
        return self.make(values)


@dataclass(frozen=True, slots=True)
class Dictionary(Expression):
    """A dictionary display; a key of None stands for `**value`."""

    items: tuple[tuple[Expression | None, Expression], ...]

    def evaluate(self, frame: Frame) -> Any:
        result: dict[Any, Any] = {}
        for key, value in self.items:
            found = value.evaluate(frame)
            if key is None:
                if not isinstance(found, dict):
                    frame.run.fail(self.at, f"`**` needs a dictionary, not a {type(found).__name__}.")
                result |= found
            else:
                result[hashable(frame.run, self.at, key.evaluate(frame))] = found
        return result


def hashable(run: Run, at: ast.AST, key: Any) -> Any:
    """Return a key of a dictionary.

    Raises:
        ForwardError: If it is not a number, a string, a class, None, or a tuple of these.
    """
    parts = bounded(key) if isinstance(key, tuple) else (key,)
    if not all(isinstance(each, str | type | bool | None | NUMBERS | Member) for each in parts):
        run.fail(at, f"a value of type {type(key).__name__} cannot be a key.")
    return key


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A call.

    Attributes:
        called: What is called.
        positional: Arguments by position.
        named: Arguments by name; a name of None stands for `**value`.
    """

    called: Expression
    positional: tuple[Expression | Starred, ...]
    named: tuple[tuple[str | None, Expression], ...]

    def evaluate(self, frame: Frame) -> Any:
        first: list[Any] = []
        if type(self.called) is Attribute:
            owner = self.called.value.evaluate(frame)
            called = TENSOR_METHODS.get(self.called.name) if isinstance(owner, Tensor) else None
            if called is not None:
                first = [owner]
            else:
                called = read_attribute(frame.run, self.called.at, owner, self.called.name)
        else:
            called = self.called.evaluate(frame)
        positional = first + evaluate_all(self.positional, frame)
        named: dict[str, Any] = {}
        for name, value in self.named:
            found = value.evaluate(frame)
            if name is not None:
                named[name] = found
            elif isinstance(found, dict) and all(isinstance(key, str) for key in found):
                named |= found
            else:
                frame.run.fail(self.at, "`**` needs a dictionary with names as keys.")
        return call(frame.run, self.at, called, positional, named)


@dataclass(frozen=True, slots=True)
class SuperCall(Expression):
    """`super()` in a method, whose first parameter is the instance."""

    instance: str

    def evaluate(self, frame: Frame) -> Any:
        scope: Frame | None = frame
        while scope is not None and (scope.owner is None or self.instance not in scope.names):
            scope = scope.parent
        if scope is None or scope.owner is None:
            frame.run.fail(self.at, "`super()` works in methods only.")
        return Super(scope.owner, scope.names[self.instance])


@dataclass(frozen=True, slots=True)
class SuperOf(Expression):
    """`super(Net, self)`."""

    owner: Expression
    instance: Expression

    def evaluate(self, frame: Frame) -> Any:
        owner, instance = self.owner.evaluate(frame), self.instance.evaluate(frame)
        if not isinstance(owner, type) or not isinstance(instance, owner):
            frame.run.fail(self.at, "`super` takes a class and one of its instances.")
        return Super(owner, instance)


@dataclass(frozen=True, slots=True)
class Attribute(Expression):
    """An attribute of a value."""

    value: Expression
    name: str

    def evaluate(self, frame: Frame) -> Any:
        return read_attribute(frame.run, self.at, self.value.evaluate(frame), self.name)


@dataclass(frozen=True, slots=True)
class Operation(Expression):
    """An operator with one or two operands."""

    operator: Operator
    operands: tuple[Expression, ...]

    def evaluate(self, frame: Frame) -> Any:
        return operate(frame.run, self.at, self.operator, [each.evaluate(frame) for each in self.operands])


def operate(run: Run, at: ast.AST, op: Operator, operands: list[Any]) -> Any:
    """Compute an operator."""
    if any(isinstance(each, Member) for each in operands):
        # The value of a member that is a number or string, too.
        operands = [x.value if isinstance(x, Member) and x.is_mixed else x for x in operands]
    first = operands[0]
    if op.symbol == "%" and isinstance(first, str):
        return percent_formatted(run, at, first, operands[1])
    if any(isinstance(each, Tensor) for each in operands):
        values = on_one_device(run, operands)
        if run.is_check and run.constructing:
            return run.compute(at, lambda: sized(run, apply, (op, values), {}), values)
        return run.compute(at, lambda: apply(op, values), values)
    try:
        return run.guard(at, lambda: apply(op, operands), ())
    except ForwardError as error:
        if isinstance(error.__cause__, ZeroDivisionError):
            run.fail(at, "this divides by zero.", "ZeroDivisionError", str(error.__cause__))
        raise


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """`not value`."""

    value: Expression

    def evaluate(self, frame: Frame) -> bool:
        return not truth(frame.run, self.at, self.value.evaluate(frame))


@dataclass(frozen=True, slots=True)
class Both(Expression):
    """`a and b`, or `a or b`.

    Attributes:
        values: The operands.
        stop: The truth at which the others are not computed any more: True for `or`.
    """

    values: tuple[Expression, ...]
    stop: bool

    def evaluate(self, frame: Frame) -> Any:
        *others, last = self.values
        for each in others:
            value = each.evaluate(frame)
            if truth(frame.run, each.at, value) is self.stop:
                return value
        return last.evaluate(frame)


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """A chain of comparisons, such as `a < b <= c`.

    Attributes:
        first: The first operand.
        rest: For each further operand the name of its operator's syntax node, and the operand.
    """

    first: Expression
    rest: tuple[tuple[str, Expression], ...]

    def evaluate(self, frame: Frame) -> Any:
        left, result = self.first.evaluate(frame), True
        for position, (name, node) in enumerate(self.rest):
            right = node.evaluate(frame)
            result = _compare(frame.run, self.at, name, left, right)
            if position + 1 < len(self.rest) and not truth(frame.run, self.at, result):
                return result
            left = right
        return result


def _compare(run: Run, at: ast.AST, name: str, left: Any, right: Any) -> Any:
    if name in ("Is", "IsNot"):
        return (left is right) == (name == "Is")
    if name in ("In", "NotIn"):
        return _contains(run, at, right, left) == (name == "In")
    if isinstance(left, Member) or isinstance(right, Member):
        return compare_members(run, at, name, left, right)
    if isinstance(left, Record) or isinstance(right, Record):
        run.fail(
            at, "objects of a class of the text are not compared; compare their attributes, or use `is`."
        )
    return operate(run, at, BINARY[name], [left, right])


def _contains(run: Run, at: ast.AST, container: Any, value: Any) -> bool:
    if isinstance(value, Tensor) or isinstance(container, Tensor):
        run.fail(at, "`in` does not compare tensors.")
    if isinstance(container, str):
        if not isinstance(value, str):
            run.fail(at, "`in` a string needs a string.")
        return value in container
    if isinstance(container, nn.Module | Record):
        found, method = find_attribute(type(container), "__contains__")
        if found:
            return truth(run, at, call(run, at, Bound(method, container), [value], {}))
    if isinstance(container, dict | set | Members):
        return hashable(run, at, value) in container
    if isinstance(container, range) and isinstance(value, int):
        return value in container
    if isinstance(container, nn.ModuleDict | nn.ParameterDict) and isinstance(value, str):
        return value in container
    return any(
        each is value or (not isinstance(each, Tensor) and bounded(each) == bounded(value))
        for each in iterate(run, at, container)
    )


@dataclass(frozen=True, slots=True)
class Conditional(Expression):
    """`a if condition else b`."""

    condition: Expression
    then: Expression
    otherwise: Expression

    def evaluate(self, frame: Frame) -> Any:
        holds = truth(frame.run, self.condition.at, self.condition.evaluate(frame))
        return (self.then if holds else self.otherwise).evaluate(frame)


@dataclass(frozen=True, slots=True)
class Formatted(Expression):
    """An f-string.

    Attributes:
        parts: Strings, and values with their conversion (`r`, `s` or none) and format.
    """

    parts: tuple[str | tuple[Expression, str, "Formatted | None"], ...]

    def evaluate(self, frame: Frame) -> str:
        texts = []
        for part in self.parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            node, conversion, specification = part
            value = node.evaluate(frame)
            if conversion == "r" and isinstance(value, str):
                value = repr(value)
            elif conversion:
                value = text_of(frame.run, self.at, value)
            spec = "" if specification is None else specification.evaluate(frame)
            texts.append(formatted(frame.run, self.at, value, spec))
        return text_of(frame.run, self.at, "".join(texts))


@dataclass(frozen=True, slots=True)
class Slice(Expression):
    """A slice between brackets."""

    bounds: tuple[Expression | None, Expression | None, Expression | None]

    def evaluate(self, frame: Frame) -> slice:
        return slice(*(None if bound is None else bound.evaluate(frame) for bound in self.bounds))


@dataclass(frozen=True, slots=True)
class Subscript(Expression):
    """An element or a part of a value."""

    value: Expression
    index: Expression

    def evaluate(self, frame: Frame) -> Any:
        return element(frame.run, self.at, self.value.evaluate(frame), self.index.evaluate(frame))


def element(run: Run, at: ast.AST, value: Any, index: Any) -> Any:
    """Return an element or a part of a value.

    Raises:
        ForwardError: If there is none.
    """
    if isinstance(value, Tensor):
        value, index = on_one_device(run, [value, index])
        if value.is_meta:
            index = _positions(run, at, value, index)
        return run.compute(at, lambda: value[on_meta(run, index)], (value, index))
    if isinstance(value, nn.Module | Record | tuple | type):
        found, method = find_attribute(type(value), "__getitem__")
        if found:
            return call(run, at, Bound(method, value), [index], {})
    if isinstance(value, type) and (own := text_class(value)) is not None and own.members:
        return _of_mapping(run, at, own.members, index)
    if isinstance(value, dict | Members | nn.ModuleDict | nn.ParameterDict):
        return _of_mapping(run, at, value, index)
    if isinstance(value, type | Namespace | ErrorType) or value is None:
        return value  # an annotation such as `list[int]`
    return _of_sequence(run, at, value, index)


def _of_mapping(run: Run, at: ast.AST, value: Any, index: Any) -> Any:
    key = hashable(run, at, index)
    if isinstance(value, DefaultDict) and value.factory is not None and key not in value:
        check_mutable(run, at, value)
        value[key] = call(run, at, value.factory, [], {})
    if key not in value:
        name = quoted(run, at, key)
        run.fail(at, f"there is no key {name}{_known_keys(value, key)}.", "KeyError", name)
    return value[key]


def _of_sequence(run: Run, at: ast.AST, value: Any, index: Any) -> Any:
    if not isinstance(value, str | list | tuple | range | deque | CONTAINERS):
        run.fail(at, f"a value of type {type(value).__name__} has no elements.")
    if isinstance(index, int) and not -len(value) <= index < len(value):
        title = type(value).__name__
        message = f"there is no element {index} of this {title}, which has {len(value)}."
        run.fail(at, message, "IndexError", f"{title} index out of range")
    return run.guard(at, lambda: value[index], ())


def _known_keys(value: Any, key: Any) -> str:
    names = [each for each in value if isinstance(each, str)]
    return did_you_mean(key, names).removesuffix(".") if isinstance(key, str) else ""


def is_mask(index: Any) -> bool:
    """Return whether an index selects elements by the values of a tensor."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in parts)


def _positions(run: Run, at: ast.AST, tensor: Tensor, index: Any) -> Any:
    """Replace lists of booleans in an index by positions, which the meta device can count."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for number, each in enumerate(parts):
        if not isinstance(each, list) or not each or not all(isinstance(item, bool) for item in each):
            continue
        before = parts[:number]
        if not any(item is Ellipsis or isinstance(item, Tensor) for item in before):
            dim = sum(item is not None for item in before)
            if dim < tensor.dim() and tensor.shape[dim] != len(each):
                run.fail(at, f"the list of booleans has {len(each)} elements, not {tensor.shape[dim]}.")
        parts[number] = [position for position, item in enumerate(each) if item]
    return tuple(parts) if isinstance(index, tuple) else parts[0]


@dataclass(frozen=True, slots=True)
class Lambda(Expression):
    """A lambda, with the default values of its parameters."""

    definition: Definition
    defaults: Mapping[str, Expression]

    def evaluate(self, frame: Frame) -> TextFunction:
        defaults = {name: value.evaluate(frame) for name, value in self.defaults.items()}
        return TextFunction(self.definition, frame, frame.owner, defaults)


@dataclass(frozen=True, slots=True)
class Walrus(Expression):
    """`(name := value)`.

    Attributes:
        name: The name.
        value: The value.
        comprehensions: Number of comprehensions around it: the name belongs to what is around them.
    """

    name: str
    value: Expression
    comprehensions: int = 0

    def evaluate(self, frame: Frame) -> Any:
        value, target = self.value.evaluate(frame), frame
        for _ in range(self.comprehensions):
            target = target.parent or target
        target.names[self.name] = value
        return value


@dataclass(frozen=True, slots=True)
class Loop:
    """One `for … in … if …` of a comprehension.

    Attributes:
        assign: Assigns an element to the target.
        values: What is iterated over.
        conditions: The conditions.
    """

    assign: Callable[[Frame, Any], None]
    values: Expression
    conditions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Expression):
    """A list, set, dictionary or generator comprehension, computed as a whole.

    Attributes:
        element: The element; for a dictionary a pair.
        loops: The loops, from outer to inner.
        make: Makes the result of the list of elements.
    """

    element: Expression
    loops: tuple[Loop, ...]
    make: Callable[[list[Any]], Any]

    def evaluate(self, frame: Frame) -> Any:
        inner = Frame(frame.run, {}, frame, frame.owner)
        # As in Python, the outermost values are computed now, and the elements of a generator later.
        first = self.loops[0].values.evaluate(frame)
        elements = (self.element.evaluate(inner) for _ in self._rounds(inner, 0, first))
        if self.make is iter:
            return elements
        values: list[Any] = []
        for each in elements:
            values.append(each)
            if len(values) % CHECKED_EVERY == 0:
                frame.run.guard(self.at, lambda: bounded(values), ())
        return frame.run.guard(self.at, lambda: self.make(bounded(values)), ())

    def _rounds(self, frame: Frame, depth: int, values: Any) -> Iterator[None]:
        loop = self.loops[depth]
        for value in iterate(frame.run, self.at, values):
            loop.assign(frame, value)
            if not all(truth(frame.run, each.at, each.evaluate(frame)) for each in loop.conditions):
                continue
            if depth + 1 == len(self.loops):
                yield
            else:
                yield from self._rounds(frame, depth + 1, self.loops[depth + 1].values.evaluate(frame))


# In-place operators on tensors and lists; numbers, strings and tuples get a new value.
IN_PLACE: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": operator.iadd,
    "Sub": operator.isub,
    "Mult": operator.imul,
    "Div": operator.itruediv,
    "FloorDiv": operator.ifloordiv,
    "Mod": operator.imod,
    "Pow": operator.ipow,
    "BitAnd": operator.iand,
    "BitOr": operator.ior,
    "BitXor": operator.ixor,
    "MatMult": operator.imatmul,
    "LShift": operator.ilshift,
    "RShift": operator.irshift,
}
