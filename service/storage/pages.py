"""Places in a list: where a page ends, as an opaque token."""

import base64
import binascii
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import Select, Table, tuple_

from service import errors
from service.storage.timestamp import EPOCH, MICROSECOND


class Place(NamedTuple):
    """A row's place in a list, which goes from the newest to the oldest."""

    created_at: datetime
    id: str

    def token(self) -> str:
        """The place as text for a client, to come back as `page_token`."""
        micros = (self.created_at - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{micros},{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str) -> Self:
        """The place a token stands for.

        Raises:
            InvalidRequest: when `token()` never made it.
        """
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
            micros, id = text.split(",")
            return cls(EPOCH + int(micros) * MICROSECOND, id)
        except (binascii.Error, ValueError, OverflowError):
            mistake = errors.FieldError("?page_token", "Not a page token; take `next_page_token` of a list.")
            raise errors.InvalidRequest(errors=[mistake]) from None


def newest_first(statement: Select[Any], table: Table, limit: int, before: Place | None) -> Select[Any]:
    """The page of a list after the place `before`, from the newest to the oldest row."""
    if before is not None:
        statement = statement.where(tuple_(table.c.created_at, table.c.id) < before)
    return statement.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
