"""Reading requests: bodies within the limit, media types, preferences, strict query parameters."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Request
from pydantic import ConfigDict, Field

from service import retry_after
from service.errors import ContentTooLarge, FieldError, InvalidRequest, Unavailable, UnsupportedMediaType
from service.specs.base import Spec

JSON = "application/json"
CSV = "text/csv"
MAX_WAIT_SECONDS = 60.0
_LARGEST = 2**63 - 1  # what a database and JSON take
Offset = Annotated[int, Field(ge=0, le=_LARGEST)]
Epoch = Annotated[int, Field(ge=1, le=_LARGEST)]


class Query(Spec):
    """Query parameters: as strict about names as a body is, but numbers come as text."""

    model_config = ConfigDict(strict=False)


async def refuse_parameters(request: Request) -> None:
    """Parameters that would be ignored are mistakes: any where none are taken, and those there twice."""
    taken = request.scope["route"].dependant.query_params
    errors = [
        FieldError(f"?{name}", f"`{name}` is there {times} times: give it once.")
        if taken
        else FieldError(f"?{name}", f"`{name}`: no parameters are taken here.")
        for name, times in Counter(name for name, _ in request.query_params.multi_items()).items()
        if times > 1 or not taken
    ]
    if errors:
        raise InvalidRequest(errors=errors)


class Bodies:
    """Bodies that are held in memory, each from its first byte to the end of what is done with it.

    Args:
        most_bytes: of one.
        most_bytes_together: of all; one that is alone is taken nevertheless.
    """

    def __init__(self, most_bytes: int, most_bytes_together: int) -> None:
        self._most_bytes = most_bytes
        self._most_bytes_together = most_bytes_together
        self._bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body of a request.

        Raises:
            ContentTooLarge: as soon as it is known to be over the limit.
            Unavailable: as soon as there is no room for it beside others.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            self._check(0, int(declared))
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._check(len(body), len(chunk))
                body += chunk
                self._bytes += len(chunk)
            yield bytes(body)
        finally:
            self._bytes -= len(body)

    def _check(self, received_bytes: int, more_bytes: int) -> None:
        """Whether a body may have more than was received of it."""
        if received_bytes + more_bytes > self._most_bytes:
            raise ContentTooLarge(f"The body has more than the {self._most_bytes} bytes that are taken.")
        alone = self._bytes == received_bytes
        if not alone and self._bytes + more_bytes > self._most_bytes_together:
            raise Unavailable(
                "Other requests take all the memory there is for bodies.",
                retry_after_seconds=retry_after.BODY_MEMORY_SECONDS,
            )


def media_type(request: Request, *taken: str) -> str:
    """The body's media type, one of those taken; a missing Content-Type means the first.

    Raises:
        UnsupportedMediaType: for any other.
    """
    given = request.headers.get("content-type", taken[0]).split(";")[0].strip().lower()
    if given not in taken:
        raise UnsupportedMediaType(f"Content-Type `{given}` is not taken here: send {' or '.join(taken)}.")
    return given


def accepts_csv(request: Request) -> bool:
    """Whether the client prefers CSV to JSON."""
    return CSV in request.headers.get("accept", "")


def preferred_wait_seconds(request: Request) -> float | None:
    """The `wait` of a `Prefer` header (RFC 7240), at most a minute; None when it isn't asked for."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        match = re.fullmatch(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*", preference.split(";")[0], re.IGNORECASE)
        if match:
            return min(float(match[1]), MAX_WAIT_SECONDS)
    return None


def unquoted(value: str | None) -> str | None:
    """A header's value without the quotes that structured fields put around it."""
    return value.strip().strip('"') if value is not None else None


def matches(etag: str, header: str | None) -> bool:
    """Whether an If-Match or If-None-Match header names this ETag."""
    if header is None:
        return False
    return any(part.strip().removeprefix("W/") in (etag, "*") for part in header.split(","))
