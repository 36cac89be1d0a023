"""Pages of lists, newest first: filters by time, and the next page."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

from fastapi import Request, Response
from pydantic import AfterValidator, BeforeValidator, Field

from service.api.http.page_tokens import page_token, position_of
from service.api.http.responses import json_response
from service.api.http.tables import TableQuery, records_response
from service.specs.base import published
from service.storage.pages import Cursor, Period


def comma_separated(values: Any) -> Any:
    """Split the values of a parameter that may be repeated at their commas."""
    return (
        [part.strip() for value in values for part in value.split(",")]
        if isinstance(values, list)
        else values
    )


# A date-time (RFC 3339, section 5.6), also without seconds or an offset, or a date. Pydantic reads numbers,
# too, as seconds or milliseconds since 1970.
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


def _of_rfc_3339(text: Any) -> Any:
    """Check the form of a time; restore the `+` of its offset, which an unescaped URL turns into a space."""
    if not isinstance(text, str) or _TIME.fullmatch(text):
        return text
    with_plus = re.sub(r" (?=\d\d:?\d\d$)", "+", text)
    if not _TIME.fullmatch(with_plus):
        raise ValueError("Use a date and time by RFC 3339, as in `2026-11-30T18:30:00Z`, or a date.")
    return with_plus


def _in_utc(time: datetime) -> datetime:
    """Convert a time to UTC, which it is in without an offset."""
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("Should be a year from 2 to 9998.") from None


Time = Annotated[datetime, BeforeValidator(_of_rfc_3339), AfterValidator(_in_utc)]


SHA_256: Final = "sha-256:"


def _check_digest(value: str) -> str:
    if not re.fullmatch(rf"{SHA_256}[0-9a-f]{{64}}", value):
        raise ValueError("Use `sha-256:` and the 64 hexadecimal digits that `sha256sum` prints.")
    return value


Digest = Annotated[str, AfterValidator(_check_digest), published(pattern="^sha-256:[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits, with its prefix."""


class ListQuery(TableQuery):
    """Page of a list."""

    created_after: Time | None = None
    """Only list what was created after this time, by RFC 3339; UTC without an offset. A date is \
its midnight."""
    created_before: Time | None = None
    """Only list what was created before this time."""
    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Maximum number of items on the page."""
    page_token: str | None = None
    """The `next_page_token` of the previous page."""

    def cursor(self, collection: str) -> Cursor | None:
        """Return the position after which the page starts; None for the first page.

        Args:
            collection: Name of the list.

        Raises:
            InvalidRequest: If the token is not one of this list.
        """
        return position_of(collection, self.page_token, Cursor.parse) if self.page_token else None

    @property
    def created(self) -> Period:
        """Period in which the items were created."""
        return Period(self.created_after, self.created_before)


class _Item(Protocol):
    @property
    def cursor(self) -> Cursor: ...


T = TypeVar("T", bound=_Item)


class Page(Generic[T]):
    """A page of a list, and the token of the next one in the body and in `Link` (RFC 8288).

    Args:
        found: The items, one more than a page has if there are more.
        collection: Name of the list.
        query: The query of the page.
        request: The request, whose parameters the next page repeats.

    Attributes:
        items: The items of the page.
    """

    def __init__(self, found: Sequence[T], collection: str, query: ListQuery, request: Request) -> None:
        self.items = found[: query.page_size]
        self._query = query
        has_more = len(found) > query.page_size
        self._next = page_token(collection, str(self.items[-1].cursor)) if has_more else None
        self._headers = next_link(request, self._next)

    def json_response(self, documents: Sequence[Any]) -> Response:
        """Return the page as JSON."""
        return json_response({"items": documents, "next_page_token": self._next}, headers=self._headers)

    def csv_response(self, documents: Sequence[Mapping[str, Any]], without: Collection[str]) -> Response:
        """Return the page as CSV, without some fields."""
        rows = ({name: value for name, value in each.items() if name not in without} for each in documents)
        return records_response(rows, self._query, self._headers)


def next_link(request: Request, token: str | None) -> dict[str, str]:
    """Return the header with the link to the next page, if there is one."""
    if token is None:
        return {}
    url = request.url.include_query_params(page_token=token)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
