"""Collection of the errors in a request, so that one response reports all of them."""

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from service.datasets.rows import Rows
from service.errors import FieldError, FieldErrors, shorten

SHOWN_ROWS = 5
_MAX_QUOTED_CHARACTERS = 40
_MAX_NAME_CHARACTERS = 100
_CONTAINERS: dict[type, str] = {list: "a list", dict: "an object"}

RowPointer = Callable[[int], str]
"""Maps a row number to the JSON pointer of a cell in that row."""


@dataclass
class _Entry:
    """An error that several rows have.

    Attributes:
        position: Its position in the list of errors; beyond its end if it is only counted.
        pointer: Location of the first value with the error.
        detail: What is wrong with it.
        rows: The first of the further rows.
        count: Number of further rows.
    """

    position: int
    pointer: str
    detail: str
    rows: list[int] = field(default_factory=list)
    count: int = 0

    def field_error(self) -> FieldError:
        """Return the error with the sentence about further rows."""
        if not self.count:
            return FieldError(self.pointer, self.detail)
        shown = ", ".join(map(str, self.rows)) + (", …" if self.count > len(self.rows) else "")
        rows = "row" if self.count == 1 else f"{self.count:,} more rows:"
        return FieldError(self.pointer, f"{self.detail} The same is wrong in {rows} {shown}.")


class ErrorCollector(FieldErrors):
    """Collect the errors of data; the same error in several rows of a column is one."""

    def __init__(self, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(errors)
        self._by_key: dict[Hashable, _Entry] = {}

    def add_rows(self, pointer: str, detail: str, rows: Sequence[int], count: int, key: Hashable) -> None:
        """Add an error that several rows have.

        Args:
            pointer: Location of the first value with the error.
            detail: What is wrong with it.
            rows: The numbers of the first rows with the error.
            count: Number of all rows with the error, at least one.
            key: Equal for the same error in several parts of a table, which are one error.
        """
        if (entry := self._by_key.get(key)) is None:
            entry = self._by_key[key] = _Entry(len(self.listed), pointer, detail)
            super().add(pointer, detail)
            rows, count = rows[1:], count - 1
        entry.rows = [*entry.rows, *rows][:SHOWN_ROWS]
        entry.count += count
        if entry.position < len(self.listed):
            self.listed[entry.position] = entry.field_error()


@dataclass(frozen=True)
class Cells:
    """Report errors in the cells of one column by column and row.

    Attributes:
        name: Name of the column.
        pointer: JSON pointer to the column, or to the value of the request that refers to it.
        errors: Receives the errors.
        rows: Row numbers of the cells in their dataset, from 0, [B].
        cell_pointer: Returns the pointer to the cell in a row; None where the request doesn't contain the
            cells, so that every error has `pointer`.
    """

    name: str
    pointer: str
    errors: ErrorCollector
    rows: Rows
    cell_pointer: RowPointer | None = None

    def pointer_to_row(self, row: int) -> str:
        """Return the pointer for an error in a row."""
        return self.pointer if self.cell_pointer is None else self.cell_pointer(row)

    def add_errors(self, bad: torch.Tensor, problem: Callable[[int], str]) -> None:
        """Add one error for all bad cells, at the first of them, with the number of the others.

        Args:
            bad: Mask of the bad cells, bool [B].
            problem: Returns what is wrong with the cell at a position in the mask, as a predicate
                ("is missing").
        """
        positions = bad.nonzero()[:, 0]
        if len(positions):
            first = int(positions[0])
            rows = [int(self.rows[each]) for each in positions[: SHOWN_ROWS + 1].tolist()]
            detail = f"`{self.name}` in row {rows[0]} {problem(first)}."
            # The rows come slice by slice: the place in the code tells which errors are the same.
            key = (self.name, getattr(problem, "__code__", problem))
            self.errors.add_rows(self.pointer_to_row(rows[0]), detail, rows, len(positions), key)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def quote_name(name: str) -> str:
    """Return a name that a client chose as error messages quote it."""
    return f"`{shorten(printable(name), _MAX_NAME_CHARACTERS)}`"


def quote_value(value: object) -> str:
    """Return a value as error messages quote it.

    Returns:
        JSON, cut after 40 characters; `a list` or `an object` for containers.
    """
    if type(value) in _CONTAINERS:
        return _CONTAINERS[type(value)]
    return shorten(json_text(value), _MAX_QUOTED_CHARACTERS)


def json_text(value: object) -> str:
    """Return a value as JSON that is readable in a message: letters of other scripts are not escaped."""
    return printable(json.dumps(value, ensure_ascii=False))


def printable(text: str) -> str:
    """Escape halves of surrogate pairs, which UTF-8 can't encode."""
    return text.encode(errors="backslashreplace").decode()
