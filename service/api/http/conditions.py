"""Conditional requests by ETag and date (RFC 9110, section 13)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from fastapi import Request

from service.errors import PreconditionFailed

# An entity-tag (section 8.8.3), or anything else between commas.
_ELEMENT = re.compile(r'\s*(W/)?("[^"]*")\s*(?=,|$)|[^,]+')
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


@dataclass(frozen=True)
class Version:
    """The version of a resource, by which requests for it can be conditional.

    Attributes:
        tag: Text of its strong ETag.
        modified_at: Time of its last change.
    """

    tag: str
    modified_at: datetime

    @property
    def etag(self) -> str:
        """The value of `ETag`."""
        return f'"{self.tag}"'

    @property
    def last_modified(self) -> str:
        """The value of `Last-Modified`."""
        return format_datetime(self._second, usegmt=True)

    @property
    def _second(self) -> datetime:
        return self.modified_at.astimezone(UTC).replace(microsecond=0)

    def check_read(self, request: Request) -> bool:
        """Check that a request means this version, by `If-Match` or `If-Unmodified-Since` (section 13.2.2).

        Returns:
            Whether it has such a condition.

        Raises:
            PreconditionFailed: If it is false.
        """
        if_match = _values(request, "if-match")
        unmodified_since = _date(request.headers.get("if-unmodified-since", ""))
        if if_match is not None:
            self._require(_names(if_match, self.etag, weak=False), "If-Match")
        elif unmodified_since is not None:
            self._require(self._second <= unmodified_since, "If-Unmodified-Since")
        return if_match is not None or unmodified_since is not None

    def check_write(self, request: Request) -> bool:
        """Check the conditions under which a request may change the resource.

        Returns:
            Whether there are any: the change must then be one of this version.

        Raises:
            PreconditionFailed: If a condition is false.
        """
        is_conditional = self.check_read(request)
        if_none_match = _values(request, "if-none-match")
        if if_none_match is not None:
            self._require(not _names(if_none_match, self.etag, weak=True), "If-None-Match")
        return is_conditional or if_none_match is not None

    def _require(self, holds: bool, header: str) -> None:
        if not holds:
            raise PreconditionFailed(f"`{header}` does not hold: the resource has the ETag {self.etag}.")

    def is_known(self, request: Request) -> bool | None:
        """Return whether a reader has this version already, by `If-None-Match`; None without this header."""
        if_none_match = _values(request, "if-none-match")
        return None if if_none_match is None else _names(if_none_match, self.etag, weak=True)

    def is_known_since(self, request: Request) -> bool:
        """Return whether a reader has this version already, by `If-None-Match` or `If-Modified-Since`."""
        known = self.is_known(request)
        if known is None:
            date = _date(request.headers.get("if-modified-since", ""))
            known = date is not None and self._second <= date
        return known


def is_conditional(request: Request) -> bool:
    """Return whether a request has any condition by ETag or date."""
    return any(name in request.headers for name in _CONDITIONS)


def _values(request: Request, name: str) -> str | None:
    """Return the values of a header that may be repeated, as one list; None if it is missing."""
    values = request.headers.getlist(name)
    return ",".join(values) if values else None


def _names(tags: str, etag: str, weak: bool) -> bool:
    """Return whether a list of ETags has this one, or is `*`.

    Args:
        tags: The list.
        etag: A strong ETag.
        weak: Whether a weak ETag of the same text counts (weak comparison, section 8.8.3.2).
    """
    if tags.strip() == "*":
        return True
    return any(match[2] == etag and (weak or not match[1]) for match in _ELEMENT.finditer(tags))


def _date(text: str) -> datetime | None:
    """Parse a date of HTTP (section 5.6.7); None if it is invalid."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
