"""A whole forward text: assignments, and what is returned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.errors import Spot
from service.architectures.text.guards import check_pieces
from service.architectures.text.nodes import Expression, Frame, Observer

Target = str | tuple["Target", ...]


@dataclass(frozen=True)
class Assignment:
    """`name = value`, `a, b = value`."""

    spot: Spot
    target: Target
    value: Expression

    def run(self, frame: Frame) -> None:
        """Give the names their values."""
        value = self.value.evaluate(frame)
        if isinstance(self.target, str):
            frame.variables[self.target] = value
        else:
            frame.compute(self.spot, lambda: _unpack(self.target, value, frame.variables), value)

    def __str__(self) -> str:
        return f"{_written(self.target)} = {self.value}"


def _unpack(target: Target, value: Any, variables: dict[str, Any]) -> None:
    if isinstance(target, str):
        variables[target] = value
        return
    if not isinstance(value, tuple | list | Tensor) or (isinstance(value, Tensor) and value.dim() == 0):
        raise TypeError(f"There are {len(target)} names for one {type(value).__name__}.")
    if len(value) != len(target):
        raise ValueError(f"There are {len(target)} names for {len(value)} values.")
    check_pieces(len(value))
    for each, part in zip(target, value, strict=True):
        _unpack(each, part, variables)


def _written(target: Target) -> str:
    if isinstance(target, str):
        return target
    inner = ", ".join(each if isinstance(each, str) else f"({_written(each)})" for each in target)
    return f"{inner}," if len(target) == 1 else inner


@dataclass(frozen=True)
class Graph:
    """A forward text that is in the grammar.

    Attributes:
        inputs: what `forward` takes besides `self`.
        assignments: in order.
        result: what the one `return` gives.
    """

    inputs: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    result: Expression

    def run(
        self,
        module: nn.Module,
        given: Mapping[str, Any],
        device: torch.device,
        observer: Observer | None = None,
    ) -> Any:
        """Compute the result.

        Raises:
            ForwardError: with line, column and the shapes that met there.
        """
        frame = Frame(module, dict(given), device, observer)
        for assignment in self.assignments:
            assignment.run(frame)
        return self.result.evaluate(frame)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.assignments), f"return {self.result}"])
