"""Reading requests: bodies within the limit, media types, preferences, strict query parameters."""

import re
from collections import Counter

from fastapi import Request
from pydantic import ConfigDict

from service.errors import ContentTooLarge, FieldError, InvalidRequest, UnsupportedMediaType
from service.specs.base import Spec

JSON = "application/json"
CSV = "text/csv"
MAX_WAIT_SECONDS = 60.0


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


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        ContentTooLarge: as soon as it is known to be over the limit.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise ContentTooLarge(f"The body has {declared} bytes; at most {limit_bytes} are taken.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise ContentTooLarge(f"The body has more than the {limit_bytes} bytes that are taken.")
    return bytes(body)


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
