"""Pagination by cursor, newest first."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Select, Table, tuple_

from service import errors
from service.storage.timestamp import EPOCH, MICROSECOND


class Cursor(NamedTuple):
    """Position of a row in a list that is sorted newest first."""

    created_at: datetime
    id: str

    def token(self) -> str:
        """Return the cursor as an opaque `page_token`."""
        micros = (self.created_at - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{micros},{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str) -> Self:
        """Parse a `page_token`.

        Raises:
            InvalidRequest: If the token is malformed.
        """
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
            micros, id = text.split(",")
            return cls(EPOCH + int(micros) * MICROSECOND, id)
        except (binascii.Error, ValueError, OverflowError):
            detail = "Not a page token; send the `next_page_token` of a previous page."
            raise errors.InvalidRequest(errors=[errors.FieldError("?page_token", detail)]) from None


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
