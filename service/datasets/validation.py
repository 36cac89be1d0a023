"""Errors of a request, collected so that one response reports all of them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import torch

from service.datasets.rows import Rows
from service.errors import FieldError, InvalidRequest

MOST_LISTED = 100
_MOST_CHARACTERS = 40
_CONTAINERS: dict[type, str] = {list: "a list", dict: "an object"}


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
        if len(self.listed) < MOST_LISTED:
            self.listed.append(FieldError(pointer, detail))

    def extend(self, errors: Iterable[FieldError]) -> None:
        """Add several errors."""
        for error in errors:
            self.add(error.pointer, error.detail)

    def add_unlisted(self, count: int) -> None:
        """Count errors without a text of their own; 100 of their group are listed already."""
        self.count += count

    def raise_if_any(self) -> None:
        """Raise the collected errors.

        Raises:
            InvalidRequest: At least one error was added; lists the first 100 and counts all.
        """
        if self.count:
            raise self._error()

    def fail(self, pointer: str, detail: str) -> NoReturn:
        """Add an error after which nothing else can be checked, and raise all errors."""
        self.add(pointer, detail)
        raise self._error()

    def _error(self) -> InvalidRequest:
        detail = None
        if self.count > len(self.listed):
            detail = f"The data holds {self.count} errors; the first {MOST_LISTED} are listed."
        return InvalidRequest(detail, self.listed)


@dataclass(frozen=True)
class Cells:
    """The cells of one column in some rows: what is wrong with them is told by row and column.

    Attributes:
        name: the column's.
        pointer: its place in the request.
        errors: where they are noted.
        rows: the numbers of the rows in their dataset, from 0.
        cell: the pointer of the cell in a row, where the request holds the cells; else `pointer` is all.
    """

    name: str
    pointer: str
    errors: ErrorCollector
    rows: Rows
    cell: Callable[[int], str] | None = None

    def place(self, row: int) -> str:
        """The pointer to what is wrong in a row."""
        return self.pointer if self.cell is None else self.cell(row)

    def note(self, bad: torch.Tensor, problem: Callable[[int], str]) -> None:
        """Note the cells at which `bad`, bool [B], is true.

        Args:
            bad: which cells are wrong.
            problem: what is wrong with the cell at a position, as the end of a sentence.
        """
        positions = bad.nonzero()[:, 0]
        for position in positions[:MOST_LISTED].tolist():
            row = int(self.rows[position])
            self.errors.add(self.place(row), f"`{self.name}` in row {row} {problem(position)}.")
        self.errors.add_unlisted(max(0, len(positions) - MOST_LISTED))


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: object) -> str:
    """A value as a message quotes it: JSON, cut after 40 characters; lists and objects by kind only."""
    if type(value) in _CONTAINERS:
        return _CONTAINERS[type(value)]
    text = json.dumps(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
