"""JSON Lines: rows, each in a line of its own, and errors that name the line."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from service.datasets.validation import ErrorCollector
from service.errors import FieldError, InvalidRequest, NotJson, pointer_to
from service.specs.json_document import parse_json


class JsonLines(list[Any]):
    """The rows of JSON Lines, parsed.

    Attributes:
        lines: The number of each row's line, by row number.
    """

    def __init__(self, rows: Mapping[int, Any]) -> None:
        """Take the rows by the numbers of their lines."""
        super().__init__(rows.values())
        self.lines = dict(enumerate(rows))


class LineErrors(ErrorCollector):
    """Errors of JSON Lines, which name the line of the row in their pointer.

    Attributes:
        lines: The numbers of lines, by row number: of the rows for which errors are added next.
    """

    def __init__(self, lines: Mapping[int, int], errors: Iterable[FieldError] = ()) -> None:
        """Start with errors that were found before."""
        super().__init__(errors)
        self.lines = lines

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
        return f"Line {self.lines[int(parts[0])]}: {detail}" if parts else detail


def parse_lines(lines: Iterable[tuple[int, bytes]], first_row: int, errors: ErrorCollector) -> dict[int, Any]:
    """Parse lines of JSON Lines.

    Args:
        lines: Numbers of lines that are not empty, with their text.
        first_row: Row number of the first of them.
        errors: Receives an error for every name that appears twice in one object.

    Returns:
        The values, by the numbers of their lines.

    Raises:
        NotJson: With the position of the syntax error.
    """
    rows: dict[int, Any] = {}
    for number, line in lines:
        try:
            rows[number] = parse_json(line)
        except NotJson as error:
            raise NotJson(error.detail.replace("line 1,", f"line {number},", 1)) from None
        except InvalidRequest as error:
            rows[number] = orjson.loads(line)
            for each in error.errors:
                pointer = pointer_to("#", first_row + len(rows) - 1) + each.pointer.removeprefix("#")
                errors.add(pointer, f"Line {number}: {each.detail}")
    return rows
