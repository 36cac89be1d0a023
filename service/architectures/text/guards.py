"""What is checked of a call's arguments because PyTorch would not, or too late."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fitserve.describe.functions import Function
from service.architectures.layers import POSITIVE

MOST_PIECES = 1_024  # each is an object of Python's

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Guard:
    """A check of one argument, by its name or, where it has one, its position."""

    parameter: str
    position: int | None
    test: Check

    def check(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError when the argument was given and is not what it must be."""
        if self.parameter in named:
            self.test(named[self.parameter])
        elif self.position is not None and self.position < len(positional):
            self.test(positional[self.position])


@dataclass(frozen=True)
class PieceGuard:
    """A check of how many tensors a function will return."""

    count: Callable[..., int]

    def check(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Raise ValueError when they are too many."""
        check_pieces(self.count(*positional, **named))


def check_pieces(count: int) -> None:
    """Refuse to cut a tensor into more pieces than a text can use."""
    if count > MOST_PIECES:
        raise ValueError(f"This makes {count} tensors; at most {MOST_PIECES} are allowed.")


def _positive(name: str) -> Check:
    def test(value: Any) -> None:
        values = value if isinstance(value, tuple | list) else [value]
        if any(isinstance(each, int) and each < 1 for each in values):
            raise ValueError(f"{name} must be at least 1.")

    return test


def _is(kind: type | tuple[type, ...], example: str) -> Check:
    def test(value: Any) -> None:
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"Give {example}, and not a {type(value).__name__}.")

    return test


_TESTS: Mapping[str, Check] = {
    **{name: _positive(name) for name in POSITIVE},
    "device": _is(torch.device, "the device of a tensor, e.g. `input.device`"),
    "dtype": _is((torch.dtype, torch.device, Tensor), "a type, e.g. `torch.float32`"),
}


def _split(input: Tensor, split_size: Any, dim: int = 0) -> int:
    whole = isinstance(split_size, int)
    return -(-input.shape[dim] // max(split_size, 1)) if whole else len(split_size)


def _sections(input: Tensor, indices_or_sections: Any, dim: int = 0) -> int:
    return indices_or_sections if isinstance(indices_or_sections, int) else len(indices_or_sections)


_PIECES: Mapping[str, Callable[..., int]] = {
    "chunk": lambda input, chunks, dim=0: chunks,
    "split": _split,
    "tensor_split": _sections,
    "unbind": lambda input, dim=0: input.shape[dim],
}


def guards_of(function: Function) -> tuple[Guard | PieceGuard, ...]:
    """The checks that a function's calls need."""
    guards: list[Guard | PieceGuard] = [
        Guard(name, position if position < function.positional else None, _TESTS[name])
        for position, name in enumerate(function.parameters)
        if name in _TESTS
    ]
    count = _PIECES.get(function.name.rpartition(".")[2])
    return (*guards, PieceGuard(count)) if count else tuple(guards)
