"""The graph of a forward text: its assignments and its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.errors import SourceLocation, tensors_in
from service.architectures.text.guards import check_pieces
from service.architectures.text.nodes import Expression, Frame, Observer

# Tensors that an update `x += y` is compared with, so that many updates take no long time.
MAX_COMPARED = 2_000
# A name, or the nested names of `a, (b, c) = …`.
Target = str | tuple["Target", ...]


@dataclass(frozen=True)
class Assignment:
    """A statement `name = value` or `a, b = value`.

    Attributes:
        location: The statement in the text.
        target: The names.
        value: The value.
        is_update: Whether it was written as `name += …`, which changes a tensor in place in PyTorch.
    """

    location: SourceLocation
    target: Target
    value: Expression
    is_update: bool = False

    def run(self, frame: Frame) -> None:
        """Compute the value and assign it to the target in `frame.variables`."""
        before = frame.variables.get(self.target) if isinstance(self.target, str) else None
        value = self.value.evaluate(frame)
        if self.is_update and isinstance(before, Tensor) and frame.observer is not None:
            frame.compute(self.location, lambda: _check_update(self.target, before, value, frame), before)
        if isinstance(self.target, str):
            frame.variables[self.target] = value
        else:
            frame.compute(self.location, lambda: _unpack(self.target, value, frame.variables), value)

    def __str__(self) -> str:
        return f"{_target_text(self.target)} = {self.value}"


def _check_update(target: Target, before: Tensor, value: Any, frame: Frame) -> None:
    """Check that a new tensor for `x += y` has the value that PyTorch's update in place has.

    Raises:
        ValueError: If PyTorch would refuse it, or would change another value of the module with it.
    """
    if value.shape != before.shape or value.dtype != before.dtype:
        raise ValueError(
            f"An update in place keeps shape and dtype, and the result is {list(value.shape)} {value.dtype}; "
            f"write `{target} = {target} + …`."
        )
    own = {f"self.{name}": x for name, x in {**frame.module._parameters, **frame.module._buffers}.items()}
    others = {name: other for name, other in {**frame.variables, **own}.items() if name != target}
    tensors = list(islice(tensors_in(others), MAX_COMPARED + 1))
    if len(tensors) > MAX_COMPARED:
        raise ValueError(f"Too many tensors are assigned to names; write `{target} = {target} + …`.")
    if not any(_share_memory(before, tensor) for tensor in tensors):
        return
    name = next(
        name for name, other in others.items() if any(_share_memory(before, x) for x in tensors_in(other))
    )
    raise ValueError(
        f"In PyTorch, this line changes `{name}` too, which has the same memory; write "
        f"`{target} = {target} + …` to keep it as it is."
    )


def _share_memory(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _unpack(target: Target, value: Any, variables: dict[str, Any]) -> None:
    if isinstance(target, str):
        variables[target] = value
        return
    if not isinstance(value, tuple | list | Tensor) or (isinstance(value, Tensor) and value.dim() == 0):
        raise TypeError(f"A value of type {type(value).__name__} cannot be unpacked to {len(target)} names.")
    if len(value) != len(target):
        raise ValueError(f"{len(value)} values cannot be unpacked to {len(target)} names.")
    check_pieces(len(value))
    for each, part in zip(target, value, strict=True):
        _unpack(each, part, variables)


def _target_text(target: Target) -> str:
    if isinstance(target, str):
        return target
    inner = ", ".join(each if isinstance(each, str) else f"({_target_text(each)})" for each in target)
    return f"{inner}," if len(target) == 1 else inner


@dataclass(frozen=True)
class Graph:
    """A forward text that the grammar accepts.

    Attributes:
        inputs: Names of the inputs of `forward`, without `self`.
        assignments: The statements, in order.
        result: The expression that is returned.
        inplace: Whether a function writes into its argument, as `F.relu(x, inplace=True)` does.
    """

    inputs: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    result: Expression
    inplace: bool = False

    def run(
        self,
        module: nn.Module,
        inputs: Mapping[str, Any],
        device: torch.device,
        observer: Observer | None = None,
    ) -> Any:
        """Compute the result.

        Args:
            module: The module whose submodules and parameters the text uses.
            inputs: Values of the inputs by name.
            device: Device on which functions such as `torch.zeros` create tensors.
            observer: Observes the run, if any.

        Raises:
            ForwardError: If an operation fails, with its location and the shapes of its operands.
        """
        frame = Frame(module, dict(inputs), device, observer)
        for assignment in self.assignments:
            assignment.run(frame)
        return self.result.evaluate(frame)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.assignments), f"return {self.result}"])
