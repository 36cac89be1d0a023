"""Nodes of a forward graph: each computes a value and prints itself as Python.

A forward text is never compiled or executed as Python. The grammar translates it into these nodes, and only
their `evaluate` methods run. Three invariants keep a run bounded:

1. Termination. The nodes form a finite tree without loops or jumps, so a run evaluates each node once. Nested
   modules could still call each other exponentially often; the observer of the check limits their operations.
2. Bounded values. Each number or sequence that a node computes passes `bounded`. The check runs first, on the
   meta device, which allocates nothing; its observer limits the size of each tensor.
3. No access beyond tensors. A node calls submodules and functions of the table only, and reads parameters,
   buffers and the attributes of `ATTRIBUTES` only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fitserve.describe.functions import LIMIT_ATTRIBUTES, PAIR_ATTRIBUTES, TENSOR_ATTRIBUTES, Function
from service.architectures.text.errors import ForwardError, SourceLocation, forward_error
from service.architectures.text.guards import ArgumentGuard, PieceGuard
from service.architectures.text.operators import COMPARISON_PRECEDENCE, Operator, apply, bounded

# Binding strengths for printing: an atom needs no parentheses anywhere, a complete argument nowhere.
ATOM = 10
LOWEST = 0

# Attributes that a text may read, with the type of value that has them.
ATTRIBUTES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(TENSOR_ATTRIBUTES, Tensor),
    **dict.fromkeys(PAIR_ATTRIBUTES, tuple),
    **dict.fromkeys(LIMIT_ATTRIBUTES, (torch.finfo, torch.iinfo)),
}


class Observer(Protocol):
    """Observes a forward text while it runs; the check on the meta device is one."""

    def computed(self, location: SourceLocation, value: Any) -> None:
        """Receive the value of an operation.

        Raises:
            Exception: To end the run.
        """

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Return the exception to raise for an error of an operation."""

    def layer(self, module: nn.Module) -> nn.Module:
        """Return the module that has the parameters of a submodule."""


@dataclass(slots=True)
class Frame:
    """State of one run of a forward text.

    Attributes:
        module: The module whose `forward` runs.
        variables: Values of inputs and variables by name.
        device: Device on which functions such as `torch.zeros` create tensors.
        observer: Observes the run, if any.
    """

    module: nn.Module
    variables: dict[str, Any]
    device: torch.device
    observer: Observer | None

    def compute(self, location: SourceLocation, call: Callable[[], Any], operands: Any) -> Any:
        """Run an operation, and report its value or its error to the observer.

        Args:
            location: The operation in the text.
            call: Computes the value.
            operands: Values whose shapes the message of an error shows.

        Raises:
            ForwardError: If the operation fails and there is no observer.
        """
        try:
            value = call()
        except ForwardError:
            raise  # raised by a nested module, with the location in its own text
        except (MemoryError, torch.OutOfMemoryError):
            raise  # not an error of the text: the caller names the memory limit
        except Exception as error:  # PyTorch raises exceptions of many types for shapes that do not fit
            if self.observer is None:
                raise forward_error(location, error, operands) from error
            raise self.observer.failed(location, error, operands) from None
        if self.observer is not None:
            self.observer.computed(location, value)
        return value


@dataclass(frozen=True)
class Expression(ABC):
    """A node that has a value.

    Attributes:
        location: The piece of the text that it was read from.
    """

    location: SourceLocation

    @property
    def precedence(self) -> int:
        """Binding strength of its outermost operator; `ATOM` without one."""
        return ATOM

    @abstractmethod
    def evaluate(self, frame: Frame) -> Any:
        """Compute the value."""

    def as_operand(self, precedence: int) -> str:
        """Print the node as an operand, in parentheses if it binds less tightly than `precedence`."""
        return str(self) if self.precedence >= precedence else f"({self})"


@dataclass(frozen=True)
class Literal(Expression):
    """A number, a string, `True`, `False`, `None`, `...` or a constant such as `torch.float32`."""

    value: Any
    text: str

    def evaluate(self, frame: Frame) -> Any:
        return self.value

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Variable(Expression):
    """An input, or a name that was assigned before."""

    name: str

    def evaluate(self, frame: Frame) -> Any:
        return frame.variables[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class TrainingMode(Expression):
    """`self.training`."""

    def evaluate(self, frame: Frame) -> bool:
        return frame.module.training

    def __str__(self) -> str:
        return "self.training"


@dataclass(frozen=True)
class SubmodulePath:
    """The path from a module to one of its submodules.

    Attributes:
        names: Names of the submodules on the path; empty for the module itself.
        text: The path as it is written, such as `self.blocks[0].fc`.
    """

    names: tuple[str, ...]
    text: str

    def resolve(self, root: nn.Module) -> nn.Module:
        """Return the submodule of `root`."""
        for name in self.names:
            child = root._modules[name]
            assert child is not None
            root = child
        return root


@dataclass(frozen=True)
class ModuleTensor(Expression):
    """A parameter or buffer of the module (`self.scale`) or of a submodule (`self.emb.weight`).

    Attributes:
        owner: The module or the submodule, or a list or dict of parameters.
        name: Name of the tensor in its owner.
        text: How it is written, if not as an attribute: `self.weights[0]`.
    """

    owner: SubmodulePath
    name: str
    text: str = ""

    def evaluate(self, frame: Frame) -> Any:
        module = self.owner.resolve(frame.module)
        if frame.observer is not None:
            module = frame.observer.layer(module)
        return frame.compute(self.location, lambda: _tensor_of(module, self.name), ())

    def __str__(self) -> str:
        return self.text or f"{self.owner.text}.{self.name}"


def _tensor_of(module: nn.Module, name: str) -> Tensor:
    tensor = {**module._buffers, **module._parameters}.get(name)
    if tensor is None:
        names = ", ".join([*module._parameters, *module._buffers]) or "none"
        raise AttributeError(f"The submodule has no parameter `{name}`; its parameters are: {names}.")
    return tensor


@dataclass(frozen=True)
class Starred:
    """`*sizes` among the arguments of a call or the elements of a tuple or list."""

    location: SourceLocation
    value: Expression

    def evaluate(self, frame: Frame) -> list[Any]:
        """Compute the elements."""
        value = self.value.evaluate(frame)
        return list(frame.compute(self.location, lambda: _as_sequence(value), value))

    def as_operand(self, precedence: int) -> str:
        """Print the node; it needs no parentheses where the grammar allows it."""
        return f"*{self.value.as_operand(ATOM)}"


def _as_sequence(value: Any) -> tuple[Any, ...] | list[Any]:
    # Iterating over a tensor would make one tensor for each sample.
    if not isinstance(value, tuple | list):
        raise TypeError(f"`*` expects a tuple or a list, not {type(value).__name__}.")
    return value


def _evaluate_all(items: Iterable[Expression | Starred], frame: Frame) -> list[Any]:
    values: list[Any] = []
    for item in items:
        if isinstance(item, Starred):
            values += item.evaluate(frame)
        else:
            values.append(item.evaluate(frame))
    return values


def _join(items: Iterable[Expression | Starred]) -> str:
    return ", ".join(item.as_operand(LOWEST) for item in items)


@dataclass(frozen=True)
class Display(Expression):
    """A tuple or list display, such as `(a, *sizes)`.

    Attributes:
        items: The elements.
        sequence_type: `tuple` or `list`.
    """

    items: tuple[Expression | Starred, ...]
    sequence_type: type[tuple[Any, ...]] | type[list[Any]]

    def evaluate(self, frame: Frame) -> Any:
        def call() -> Any:
            return bounded(self.sequence_type(_evaluate_all(self.items, frame)))

        return frame.compute(self.location, call, ())

    @property
    def inner_text(self) -> str:
        """The elements as they are written between the brackets."""
        is_single = self.sequence_type is tuple and len(self.items) == 1
        return _join(self.items) + ("," if is_single else "")

    def __str__(self) -> str:
        return f"({self.inner_text})" if self.sequence_type is tuple else f"[{self.inner_text}]"


@dataclass(frozen=True)
class Arguments:
    """Arguments of a call."""

    positional: tuple[Expression | Starred, ...]
    named: Mapping[str, Expression] = field(default_factory=dict)

    def evaluate(self, frame: Frame) -> tuple[list[Any], dict[str, Any]]:
        """Compute the values, in Python's order: operations may draw from the random generator."""
        positional = _evaluate_all(self.positional, frame)
        return positional, {name: value.evaluate(frame) for name, value in self.named.items()}

    def __str__(self) -> str:
        named = [f"{name}={value}" for name, value in self.named.items()]
        return ", ".join(filter(None, [_join(self.positional), *named]))


@dataclass(frozen=True)
class FunctionCall(Expression):
    """A call of a function of the table, or of a method, whose first argument is its tensor.

    Attributes:
        function: The function.
        arguments: Its arguments.
        guards: Checks of the arguments, made before each call.
    """

    function: Function
    arguments: Arguments
    guards: tuple[ArgumentGuard | PieceGuard, ...]

    def evaluate(self, frame: Frame) -> Any:
        positional, named = self.arguments.evaluate(frame)
        if self.function.creates and "device" not in named:
            named["device"] = frame.device

        def call() -> Any:
            for guard in self.guards:
                guard.check(positional, named)
            return bounded(self.function.target(*positional, **named))

        return frame.compute(self.location, call, (positional, named))

    def __str__(self) -> str:
        name = self.function.name
        if not name.startswith("Tensor."):
            return f"{name}({self.arguments})"
        tensor, *others = self.arguments.positional
        arguments = Arguments(tuple(others), self.arguments.named)
        return f"{tensor.as_operand(ATOM)}.{name.removeprefix('Tensor.')}({arguments})"


@dataclass(frozen=True)
class SubmoduleCall(Expression):
    """A call of a submodule."""

    submodule: SubmodulePath
    arguments: Arguments

    def evaluate(self, frame: Frame) -> Any:
        positional, named = self.arguments.evaluate(frame)
        module = self.submodule.resolve(frame.module)
        return frame.compute(self.location, lambda: module(*positional, **named), (positional, named))

    def __str__(self) -> str:
        return f"{self.submodule.text}({self.arguments})"


@dataclass(frozen=True)
class Attribute(Expression):
    """An attribute of a tensor (`x.shape`), or of the pair that `x.max(dim=1)` returns (`.values`).

    Attributes:
        value: The tensor or the pair.
        name: A name of `ATTRIBUTES`.
    """

    value: Expression
    name: str

    def evaluate(self, frame: Frame) -> Any:
        value = self.value.evaluate(frame)
        return frame.compute(self.location, lambda: self._read(value), value)

    def _read(self, value: Any) -> Any:
        if not isinstance(value, ATTRIBUTES[self.name]):
            raise TypeError(f"A value of type {type(value).__name__} has no `.{self.name}`.")
        return getattr(value, self.name)

    def __str__(self) -> str:
        return f"{self.value.as_operand(ATOM)}.{self.name}"


@dataclass(frozen=True)
class Operation(Expression):
    """An operator with one or two operands."""

    operator: Operator
    operands: tuple[Expression, ...]

    @property
    def precedence(self) -> int:
        return self.operator.precedence

    def evaluate(self, frame: Frame) -> Any:
        values = [operand.evaluate(frame) for operand in self.operands]
        return frame.compute(self.location, lambda: apply(self.operator, values), values)

    def __str__(self) -> str:
        symbol, precedence = self.operator.symbol, self.precedence
        if len(self.operands) == 1:
            return f"{symbol}{self.operands[0].as_operand(precedence)}"
        # An operand of the same precedence needs parentheses, unless it is on the side to which the operator
        # groups: the left, but the right for `**`. Comparisons group to neither side, as Python reads
        # `a < b < c` as a chain.
        left = precedence + (symbol == "**" or precedence == COMPARISON_PRECEDENCE)
        right = precedence + (symbol != "**")
        return f"{self.operands[0].as_operand(left)} {symbol} {self.operands[1].as_operand(right)}"


@dataclass(frozen=True)
class Slice(Expression):
    """A slice between brackets, such as `1:` or `::2`.

    Attributes:
        bounds: Start, stop and step.
    """

    bounds: tuple[Expression | None, Expression | None, Expression | None]

    def evaluate(self, frame: Frame) -> slice:
        return slice(*(None if bound is None else bound.evaluate(frame) for bound in self.bounds))

    def __str__(self) -> str:
        start, stop, step = ("" if bound is None else str(bound) for bound in self.bounds)
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


@dataclass(frozen=True)
class Subscript(Expression):
    """A part of a tensor (`x[:, 0]`), or an element of a tuple or list (`x.shape[0]`)."""

    value: Expression
    index: Expression

    def evaluate(self, frame: Frame) -> Any:
        value, index = self.value.evaluate(frame), self.index.evaluate(frame)
        return frame.compute(self.location, lambda: _select(value, index), (value, index))

    def __str__(self) -> str:
        index = self.index
        # Without parentheses: only directly between brackets may an element of a tuple be a slice.
        is_tuple = isinstance(index, Display) and index.sequence_type is tuple and bool(index.items)
        text = index.inner_text if isinstance(index, Display) and is_tuple else str(index)
        return f"{self.value.as_operand(ATOM)}[{text}]"


def _select(value: Any, index: Any) -> Any:
    if not isinstance(value, Tensor | tuple | list):
        raise TypeError(f"A value of type {type(value).__name__} has no elements.")
    return value[index]
