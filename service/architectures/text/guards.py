"""Checks of a call's arguments that PyTorch makes too late, or not at all on the meta device.

Examples: a stride of 0 divides by zero in the process, and a tensor can be split into millions of pieces,
each of which is a Python object.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fitserve.describe.functions import Function
from service.architectures.layers import POSITIVE

MAX_PIECES = 1_024

Check = Callable[[Any], None]


@dataclass(frozen=True)
class ArgumentGuard:
    """A check of one argument.

    Attributes:
        parameter: Name of the argument.
        position: Its position; None if it can only be passed by name.
        check_value: Raises TypeError or ValueError for an invalid value.
    """

    parameter: str
    position: int | None
    check_value: Check

    def check(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Check the argument if the call has it.

        Raises:
            TypeError, ValueError: If the argument is invalid.
        """
        if self.parameter in named:
            self.check_value(named[self.parameter])
        elif self.position is not None and self.position < len(positional):
            self.check_value(positional[self.position])


@dataclass(frozen=True)
class PieceGuard:
    """A check of the number of tensors that a call returns.

    Attributes:
        count: Computes the number from the arguments of the call.
    """

    count: Callable[..., int]

    def check(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Check the number of tensors.

        Raises:
            ValueError: If there are too many.
        """
        check_pieces(self.count(*positional, **named))


def check_pieces(count: int) -> None:
    """Check the number of pieces into which a tensor is cut.

    Raises:
        ValueError: If it exceeds `MAX_PIECES`.
    """
    if count > MAX_PIECES:
        raise ValueError(f"This makes {count} tensors; at most {MAX_PIECES} are allowed.")


def _positive(name: str) -> Check:
    def check(value: Any) -> None:
        values = value if isinstance(value, tuple | list) else [value]
        if any(isinstance(each, int) and each < 1 for each in values):
            raise ValueError(f"{name} must be at least 1.")

    return check


def _of_type(types: type | tuple[type, ...], expected: str) -> Check:
    def check(value: Any) -> None:
        if value is not None and not isinstance(value, types):
            raise TypeError(f"Expected {expected}, not {type(value).__name__}.")

    return check


_CHECKS: Mapping[str, Check] = {
    **{name: _positive(name) for name in POSITIVE},
    # A string could name a device that the job must not use.
    "device": _of_type(torch.device, "the device of a tensor, such as `input.device`"),
    "dtype": _of_type(torch.dtype, "a dtype, such as `torch.float32`"),
}
# Checks of single functions.
_CHECKS_OF: Mapping[str, Mapping[str, Check]] = {
    "Tensor.to": {"other": _of_type((torch.dtype, torch.device, Tensor), "a dtype, such as `torch.float32`")}
}


def _count_split(input: Tensor, split_size: Any, dim: int = 0) -> int:
    if isinstance(split_size, int):
        return -(-input.shape[dim] // max(split_size, 1))  # rounded up
    return len(split_size)


def _count_sections(input: Tensor, sections: Any = (), dim: int = 0, indices: Any = ()) -> int:
    return sections if isinstance(sections, int) else len(sections or indices)


# Number of tensors that a function returns, by its name without the module; parameters as in PyTorch.
_PIECES: Mapping[str, Callable[..., int]] = {
    "chunk": lambda input, chunks, dim=0: chunks,
    "split": _count_split,
    "split_with_sizes": lambda input, split_sizes, dim=0: len(split_sizes),
    **dict.fromkeys(("tensor_split", "dsplit", "hsplit", "vsplit"), _count_sections),
    "unbind": lambda input, dim=0: input.shape[dim],
}


def guards_of(function: Function) -> tuple[ArgumentGuard | PieceGuard, ...]:
    """Return the checks that each call of a function needs."""
    checks = {**_CHECKS, **_CHECKS_OF.get(function.name, {})}
    guards: list[ArgumentGuard | PieceGuard] = [
        ArgumentGuard(name, position if position < function.positional else None, checks[name])
        for position, name in enumerate(function.parameters)
        if name in checks
    ]
    count = _PIECES.get(function.name.rpartition(".")[2])
    return (*guards, PieceGuard(count)) if count else tuple(guards)


# They fill a tensor with values, and accept ones on the meta device that they refuse elsewhere.
_FILLING = frozenset(
    {"Tensor.fill_", "Tensor.normal_", "Tensor.uniform_"}
    | {f"nn.init.{name}_" for name in ("constant", "normal", "trunc_normal", "uniform", "orthogonal")}
    | {f"nn.init.{rule}_{law}_" for rule in ("xavier", "kaiming") for law in ("normal", "uniform")}
)
_CONSTANT = frozenset({"Tensor.fill_", "nn.init.constant_"})  # a mask may be infinite


def check_fill(function: Function, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Try a function that fills a tensor of the meta device with one of a single element.

    The random numbers that follow stay the same.

    Raises:
        Exception: As raised by the function, e.g. for bounds in the wrong order.
        ValueError: Random values are infinite.
    """
    if function.name not in _FILLING:
        return
    others = dict(named)
    filled, *further = positional or [others.pop(function.parameters[0], None)]
    if not isinstance(filled, Tensor) or not filled.is_meta:
        return
    if any(isinstance(each, Tensor) for each in (*further, *others.values())):
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        tried = torch.zeros([1] * filled.dim(), dtype=filled.dtype, device="cpu")
        torch.manual_seed(0)  # the same request has the same errors
        function.target(tried, *further, **others)
    if function.name not in _CONSTANT and not tried.isfinite().all():
        raise ValueError(f"The values that it draws are beyond {tried.dtype}.")
