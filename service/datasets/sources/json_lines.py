"""JSON Lines: rows, each in a line of its own, and errors that name the line."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from service.datasets.validation import ErrorCollector


class JsonLines(list[Any]):
    """The rows of JSON Lines, parsed.

    Attributes:
        numbers: The number of each row's line.
    """

    def __init__(self, rows: Mapping[int, Any]) -> None:
        """Take the rows by the numbers of their lines."""
        super().__init__(rows.values())
        self.numbers = list(rows)


class LineErrors(ErrorCollector):
    """Errors of JSON Lines, which name the line of the row in their pointer."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self._numbers = numbers

    def add(self, pointer: str, detail: str | Callable[[], str]) -> None:
        """Add one error."""
        super().add(
            pointer, lambda: self._with_line(pointer, detail if isinstance(detail, str) else detail())
        )

    def add_rows(self, pointer: str, detail: str, rows: Sequence[int], count: int, key: Hashable) -> None:
        """Add an error that several rows have."""
        super().add_rows(pointer, self._with_line(pointer, detail), rows, count, key)

    def _with_line(self, pointer: str, detail: str) -> str:
        _, *parts = pointer.split("/")
        return f"Line {self._numbers[int(parts[0])]}: {detail}" if parts else detail
