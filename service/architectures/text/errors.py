"""What can be wrong with a forward text: in its words, or when tensors flow."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Spot:
    """A piece of a forward text.

    Attributes:
        line: from 1.
        column: from 1.
        text: the piece itself, as the client wrote it.
    """

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        lines = self.text.strip().splitlines() or [""]
        cut = len(lines) > 1 or len(lines[0]) > SHOWN_CHARACTERS
        shown = f"{lines[0][:SHOWN_CHARACTERS].rstrip()}…" if cut else lines[0]
        return f"Line {self.line}, column {self.column}: `{shown}`"


class Refused(Exception):
    """The text is not in the grammar."""

    def __init__(self, spot: Spot, remedy: str) -> None:
        super().__init__(f"{spot}: {remedy}")


class ForwardError(RuntimeError):
    """A forward text met values that it can't compute with."""


def failure(
    spot: Spot,
    error: Exception,
    arguments: Any,
    shown: Callable[[Tensor], str] = lambda tensor: str(list(tensor.shape)),
) -> ForwardError:
    """What PyTorch said, with the place in the text and the shapes that met there."""
    met = " and ".join(map(shown, _tensors(arguments)))
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ForwardError(f"{spot}{f' got {met}' if met else ''}: {lines[0].rstrip('.')}.")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
