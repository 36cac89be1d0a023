"""Errors in a forward text: syntax outside the grammar, and operations that fail while it runs."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

MAX_SHOWN_CHARACTERS = 60
MAX_SHOWN_TENSORS = 10
DEPENDS_ON_VALUES = (
    "The shape of the result would depend on the values of a tensor; keep all elements, choose values with "
    "`torch.where(condition, a, b)`, and give sizes as numbers."
)
# Plain reasons for messages of PyTorch that speak of its own parts, by a pattern of the message.
REASONS: Mapping[str, str] = {
    r"torch\.nonzero\(\) raises|[Mm]eta tensors?": DEPENDS_ON_VALUES,
    "a leaf Variable that requires grad": (
        "A parameter that is trained cannot be changed in place; compute a new tensor instead."
    ),
}


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A piece of a forward text.

    Attributes:
        line: Line of its first character, from 1.
        column: Column of its first character, from 1.
        text: The piece itself, as the client wrote it.
    """

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        lines = self.text.strip().splitlines() or [""]
        is_cut = len(lines) > 1 or len(lines[0]) > MAX_SHOWN_CHARACTERS
        shown = f"{lines[0][:MAX_SHOWN_CHARACTERS].rstrip()}…" if is_cut else lines[0]
        return f"Line {self.line}, column {self.column}: `{shown}`"


class GrammarError(Exception):
    """A forward text has syntax that the grammar does not accept.

    Args:
        location: The piece of the text.
        remedy: What is wrong, and what to write instead; or a function that returns it, which is called only
            if the error is shown.
    """

    def __init__(self, location: SourceLocation, remedy: str | Callable[[], str]) -> None:
        super().__init__(location, remedy)
        self.location = location
        self._remedy = remedy

    @property
    def remedy(self) -> str:
        """The error and its remedy, as a sentence."""
        return self._remedy if isinstance(self._remedy, str) else self._remedy()

    def __str__(self) -> str:
        return f"{self.location}: {self.remedy}"


class ForwardError(RuntimeError):
    """An operation of a forward text failed while the text ran."""


class Raised(ForwardError):
    """An exception that a `try` statement of the text catches.

    Args:
        name: Name of its class in Python.
        text: Its text, as `str(error)` gives it.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


def shape_of(tensor: Tensor) -> str:
    """Return the shape of a tensor as messages show it: `[4, 3]`."""
    return str(list(tensor.shape))


def forward_error(
    location: SourceLocation,
    error: Exception,
    operands: Any,
    describe: Callable[[Tensor], str] = shape_of,
) -> ForwardError:
    """Add the location and the shapes of the operands to an error of PyTorch.

    Args:
        location: The operation that failed.
        error: The exception that it raised; the first line of its message is kept.
        operands: Values of the operation, nested in tuples, lists and mappings.
        describe: Formats a tensor for the message.
    """
    shown = [describe(tensor) for tensor in islice(tensors_in(operands), MAX_SHOWN_TENSORS + 1)]
    more = " and others" if len(shown) > MAX_SHOWN_TENSORS else ""
    shapes = " and ".join(shown[:MAX_SHOWN_TENSORS]) + more
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = next((reason for pattern, reason in REASONS.items() if re.search(pattern, lines[0])), lines[0])
    return ForwardError(f"{location}{f' got {shapes}' if shapes else ''}: {reason.rstrip('.')}.")


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in lists, tuples and mappings; a shared container counts once."""
    seen: set[int] = set()
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list | Mapping) and id(value) not in seen:
            seen.add(id(value))
            waiting += reversed(list(value.values()) if isinstance(value, Mapping) else value)
