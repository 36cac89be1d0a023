"""Collection of the errors in a request, so that one response reports all of them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import torch

from service.datasets.rows import Rows
from service.errors import FieldError, InvalidRequest

MAX_LISTED = 100
_MAX_QUOTED_CHARACTERS = 40
_CONTAINERS: dict[type, str] = {list: "a list", dict: "an object"}

RowPointer = Callable[[int], str]
"""Maps a row number to the JSON pointer of a cell in that row."""


class ErrorCollector:
    """Collect field errors: the first 100 are kept, all are counted.

    Args:
        before: Errors to start with; this collector is not changed.

    Attributes:
        listed: The first 100 errors.
        count: Number of all errors.
    """

    def __init__(self, before: "ErrorCollector | None" = None) -> None:
        self.listed: list[FieldError] = [] if before is None else list(before.listed)
        self.count: int = 0 if before is None else before.count

    def add(self, pointer: str, detail: str) -> None:
        """Add one error."""
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(FieldError(pointer, detail))

    def extend(self, errors: Iterable[FieldError]) -> None:
        """Add several errors."""
        for error in errors:
            self.add(error.pointer, error.detail)

    def add_unlisted(self, count: int) -> None:
        """Count errors that need no text because the list is full."""
        self.count += count

    def raise_if_any(self) -> None:
        """Raise the collected errors.

        Raises:
            InvalidRequest: At least one error was added; lists the first 100 and counts all.
        """
        if self.count:
            raise self._error()

    def fail(self, pointer: str, detail: str) -> NoReturn:
        """Add an error that prevents further checks, and raise all errors.

        Raises:
            InvalidRequest: Always.
        """
        self.add(pointer, detail)
        raise self._error()

    def _error(self) -> InvalidRequest:
        detail = None
        if self.count > len(self.listed):
            detail = f"The data has {self.count} errors; the first {MAX_LISTED} are listed."
        return InvalidRequest(detail, self.listed)


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
        """Add an error for each bad cell: the first 100 with a text, the others only counted.

        Args:
            bad: Mask of the bad cells, bool [B].
            problem: Returns what is wrong with the cell at a position in the mask, as a predicate
                ("is missing").
        """
        positions = bad.nonzero()[:, 0]
        for position in positions[:MAX_LISTED].tolist():
            row = int(self.rows[position])
            self.errors.add(self.pointer_to_row(row), f"`{self.name}` in row {row} {problem(position)}.")
        self.errors.add_unlisted(max(0, len(positions) - MAX_LISTED))


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def quote_value(value: object) -> str:
    """Return a value as error messages quote it.

    Returns:
        JSON, cut after 40 characters; `a list` or `an object` for containers.
    """
    if type(value) in _CONTAINERS:
        return _CONTAINERS[type(value)]
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else f"{text[:_MAX_QUOTED_CHARACTERS]}…"
