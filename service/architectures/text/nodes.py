"""The graph of a forward text: our own nodes, each of which computes a value and prints itself as Python."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fitserve.describe.functions import PAIR_ATTRIBUTES, TENSOR_ATTRIBUTES, Function
from service.architectures.text.errors import ForwardError, Spot, failure
from service.architectures.text.guards import Guard, PieceGuard
from service.architectures.text.operators import Operator, apply, bounded

ATOM = 9  # binds tighter than any operator
LOWEST = 0


class Observer(Protocol):
    """Looks on while a forward text runs: the check on the meta device does."""

    def seen(self, spot: Spot, value: Any) -> None:
        """Something was computed."""

    def failed(self, spot: Spot, error: Exception, arguments: Any) -> Exception:
        """What to raise for an error that came up."""

    def layer(self, module: nn.Module) -> nn.Module:
        """What has the parameters of a submodule."""


@dataclass(slots=True)
class Frame:
    """One run of a forward text."""

    module: nn.Module
    variables: dict[str, Any]
    device: torch.device
    observer: Observer | None

    def compute(self, spot: Spot, call: Callable[[], Any], arguments: Any) -> Any:
        """The result of a call; what goes wrong is told with the place and the shapes that met there."""
        try:
            value = call()
        except ForwardError:
            raise  # of a module inside this one, which knows its own place
        except Exception as error:  # PyTorch refuses by whatever exception comes up
            if self.observer is None:
                raise failure(spot, error, arguments) from error
            raise self.observer.failed(spot, error, arguments) from None
        if self.observer is not None:
            self.observer.seen(spot, value)
        return value


class Expression(ABC):
    """A node that has a value."""

    spot: Spot
    precedence: int = ATOM

    @abstractmethod
    def evaluate(self, frame: Frame) -> Any:
        """The value."""

    def inside(self, precedence: int) -> str:
        """The node as an operand of something that binds as tightly."""
        return str(self) if self.precedence >= precedence else f"({self})"


@dataclass(frozen=True)
class Literal(Expression):
    """A number, a word of an option, `True`, `None` or `...`."""

    spot: Spot
    value: Any
    written: str

    def evaluate(self, frame: Frame) -> Any:
        """The value itself."""
        return self.value

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True)
class Variable(Expression):
    """An input, or what was assigned before."""

    spot: Spot
    name: str

    def evaluate(self, frame: Frame) -> Any:
        """What was assigned last."""
        return frame.variables[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Training(Expression):
    """`self.training`."""

    spot: Spot

    def evaluate(self, frame: Frame) -> bool:
        """Whether the module is in training mode."""
        return frame.module.training

    def __str__(self) -> str:
        return "self.training"


@dataclass(frozen=True)
class Members:
    """The way to a submodule: names, and positions in a sequential."""

    names: tuple[str, ...]
    written: str

    def module(self, root: nn.Module) -> nn.Module:
        """The submodule."""
        for name in self.names:
            found = root._modules[name]
            assert found is not None
            root = found
        return root


@dataclass(frozen=True)
class OwnTensor(Expression):
    """A parameter or buffer of the module (`self.scale`) or of a submodule (`self.emb.weight`)."""

    spot: Spot
    owner: Members
    name: str

    def evaluate(self, frame: Frame) -> Any:
        """The tensor, which trains with the others."""
        module = self.owner.module(frame.module)
        if frame.observer is not None:
            module = frame.observer.layer(module)
        return frame.compute(self.spot, lambda: tensor_of(module, self.name), ())

    def __str__(self) -> str:
        return f"{self.owner.written}.{self.name}"


def tensor_of(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer of a module, by its own name."""
    found = {**module._buffers, **module._parameters}.get(name)
    if found is None:
        known = ", ".join([*module._parameters, *module._buffers]) or "none"
        raise AttributeError(f"There is no parameter `{name}` here; there are: {known}.")
    return found


@dataclass(frozen=True)
class Display(Expression):
    """A tuple or a list; elements that are spread (`*x.shape`) count one by one."""

    spot: Spot
    items: tuple["Expression | Spread", ...]
    kind: type[tuple[Any, ...]] | type[list[Any]]

    def evaluate(self, frame: Frame) -> Any:
        """The elements' values."""
        return frame.compute(self.spot, lambda: bounded(self.kind(_values(self.items, frame))), ())

    def __str__(self) -> str:
        inner = ", ".join(item.inside(LOWEST) for item in self.items)
        if self.kind is list:
            return f"[{inner}]"
        return f"({inner},)" if len(self.items) == 1 else f"({inner})"


@dataclass(frozen=True)
class Spread:
    """`*sizes` among arguments or elements."""

    spot: Spot
    value: Expression

    def values(self, frame: Frame) -> list[Any]:
        """The elements, which are sizes: a tensor's would be one for each sample."""
        value = self.value.evaluate(frame)
        return list(frame.compute(self.spot, lambda: _sequence(value), value))

    def inside(self, precedence: int) -> str:
        """As in Python."""
        return f"*{self.value.inside(ATOM)}"


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"`*` takes a tuple or a list, and not a {type(value).__name__}.")
    return value


def _values(items: tuple[Expression | Spread, ...], frame: Frame) -> list[Any]:
    values: list[Any] = []
    for item in items:
        if isinstance(item, Spread):
            values += item.values(frame)
        else:
            values.append(item.evaluate(frame))
    return values


@dataclass(frozen=True)
class Arguments:
    """What a call is given."""

    positional: tuple[Expression | Spread, ...]
    named: Mapping[str, Expression] = field(default_factory=dict)

    def evaluate(self, frame: Frame) -> tuple[list[Any], dict[str, Any]]:
        """The values."""
        named = {name: value.evaluate(frame) for name, value in self.named.items()}
        return _values(self.positional, frame), named

    def __str__(self) -> str:
        named = [f"{name}={value}" for name, value in self.named.items()]
        return ", ".join([*(value.inside(LOWEST) for value in self.positional), *named])


@dataclass(frozen=True)
class Call(Expression):
    """A function of the table, or a method of a tensor, which is its first argument."""

    spot: Spot
    function: Function
    arguments: Arguments
    guards: tuple[Guard | PieceGuard, ...]

    def evaluate(self, frame: Frame) -> Any:
        """What the function returns."""
        positional, named = self.arguments.evaluate(frame)
        if self.function.creates and "device" not in named:
            named["device"] = frame.device

        def call() -> Any:
            for guard in self.guards:
                guard.check(positional, named)
            return bounded(self.function.target(*positional, **named))

        return frame.compute(self.spot, call, (positional, named))

    def __str__(self) -> str:
        name = self.function.name
        if not name.startswith("Tensor."):
            return f"{name}({self.arguments})"
        tensor, *others = self.arguments.positional
        given = Arguments(tuple(others), self.arguments.named)
        return f"{tensor.inside(ATOM)}.{name.removeprefix('Tensor.')}({given})"


@dataclass(frozen=True)
class Submodule(Expression):
    """A call of a submodule."""

    spot: Spot
    member: Members
    arguments: Arguments

    def evaluate(self, frame: Frame) -> Any:
        """What the submodule returns."""
        positional, named = self.arguments.evaluate(frame)
        module = self.member.module(frame.module)
        return frame.compute(self.spot, lambda: module(*positional, **named), (positional, named))

    def __str__(self) -> str:
        return f"{self.member.written}({self.arguments})"


@dataclass(frozen=True)
class Attribute(Expression):
    """`x.shape` and its like; `.values` and `.indices` of a pair."""

    spot: Spot
    value: Expression
    name: str

    def evaluate(self, frame: Frame) -> Any:
        """The attribute."""
        value = self.value.evaluate(frame)
        return frame.compute(self.spot, lambda: self._of(value), value)

    def _of(self, value: Any) -> Any:
        fits = isinstance(value, tuple) if self.name in PAIR_ATTRIBUTES else isinstance(value, Tensor)
        if not fits or self.name not in TENSOR_ATTRIBUTES | PAIR_ATTRIBUTES:
            raise TypeError(f"A {type(value).__name__} has no `.{self.name}`.")
        return getattr(value, self.name)

    def __str__(self) -> str:
        return f"{self.value.inside(ATOM)}.{self.name}"


@dataclass(frozen=True)
class Operation(Expression):
    """An operator with one or two operands."""

    spot: Spot
    operator: Operator
    operands: tuple[Expression, ...]

    @property
    def precedence(self) -> int:  # type: ignore[override]
        """The operator's."""
        return self.operator.precedence

    def evaluate(self, frame: Frame) -> Any:
        """The result."""
        values = [operand.evaluate(frame) for operand in self.operands]
        return frame.compute(self.spot, lambda: apply(self.operator, values), values)

    def __str__(self) -> str:
        symbol, mine = self.operator.symbol, self.precedence
        if len(self.operands) == 1:
            return f"{symbol}{self.operands[0].inside(mine)}"
        # From left to right, but for powers; comparisons don't chain.
        left, right = (mine + 1, mine) if symbol == "**" else (mine, mine + 1)
        left += mine == 1
        return f"{self.operands[0].inside(left)} {symbol} {self.operands[1].inside(right)}"


@dataclass(frozen=True)
class Slice(Expression):
    """`1:`, `::2`, … between brackets."""

    spot: Spot
    bounds: tuple[Expression | None, Expression | None, Expression | None]

    def evaluate(self, frame: Frame) -> slice:
        """Python's slice."""
        return slice(*(None if bound is None else bound.evaluate(frame) for bound in self.bounds))

    def __str__(self) -> str:
        start, stop, step = ("" if bound is None else str(bound) for bound in self.bounds)
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


@dataclass(frozen=True)
class Subscript(Expression):
    """`x[:, 0]`, `x.shape[0]`, `pair[1]`."""

    spot: Spot
    value: Expression
    index: Expression

    def evaluate(self, frame: Frame) -> Any:
        """The part of a tensor, or the element of a tuple."""
        value, index = self.value.evaluate(frame), self.index.evaluate(frame)
        return frame.compute(self.spot, lambda: _part(value, index), (value, index))

    def __str__(self) -> str:
        index = self.index
        inner = str(index)
        if isinstance(index, Display) and index.kind is tuple and len(index.items) > 1:
            inner = inner[1:-1]
        return f"{self.value.inside(ATOM)}[{inner}]"


def _part(value: Any, index: Any) -> Any:
    if not isinstance(value, Tensor | tuple | list):
        raise TypeError(f"A {type(value).__name__} has no elements.")
    return value[index]
