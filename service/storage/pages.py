"""Pagination by cursor, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Select, Table, tuple_

from service.storage.timestamp import EPOCH, MICROSECOND


class Cursor(NamedTuple):
    """Position of a row in a list that is sorted newest first."""

    created_at: datetime
    id: str

    def __str__(self) -> str:
        return f"{(self.created_at - EPOCH) // MICROSECOND},{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` returns.

        Raises:
            ValueError: If it is something else.
            OverflowError: If its time is beyond the calendar.
        """
        micros, id = text.split(",")
        return cls(EPOCH + int(micros) * MICROSECOND, id)


@dataclass(frozen=True)
class Period:
    """Period of time: after one time and before another, each unless it is None."""

    after: datetime | None = None
    before: datetime | None = None

    def conditions(self, column: ColumnElement[datetime]) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions that a column of times is within the period."""
        if self.after is not None:
            yield column > self.after
        if self.before is not None:
            yield column < self.before


ALWAYS = Period()


def newest_first(statement: Select[Any], table: Table, limit: int, before: Cursor | None) -> Select[Any]:
    """Return the statement of a page, newest first, that follows the cursor `before`."""
    if before is not None:
        statement = statement.where(tuple_(table.c.created_at, table.c.id) < before)
    return statement.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
