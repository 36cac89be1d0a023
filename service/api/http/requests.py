"""Requests: bodies with size limits, media types, preferences and strict query parameters."""

import re
from collections import Counter
from typing import Annotated, Any, TypeVar, get_args

from fastapi import Header, Request
from multipart import parse_options_header
from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from service.api.http.negotiation import JSON
from service.errors import FieldError, FieldErrors, InvalidRequest, UnsupportedMediaType
from service.specs.base import Spec, field_errors
from service.specs.json_document import parse_json

MERGE_PATCH = "application/merge-patch+json"
MAX_WAIT_SECONDS = 60.0
LARGEST = 2**63 - 1  # largest integer of the database columns
Offset = Annotated[int, Field(ge=0, le=LARGEST)]
S = TypeVar("S", bound=Spec)
Epoch = Annotated[int, Field(ge=1, le=LARGEST)]


class Query(Spec):
    """Query parameters; unknown names are errors, and numbers are parsed from text."""

    model_config = ConfigDict(strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _written_in_digits(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse the spaces, plus signs and underscores that Python, and so pydantic, accepts in numbers."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        for number, (pattern, what) in _NUMBERS.items():
            if isinstance(value, str) and _holds(annotation, number) and not pattern.fullmatch(value):
                raise ValueError(f"Should be {what}, without spaces, a plus sign or underscores.")
        return value


_NUMBERS = {
    int: (re.compile(r"-?[0-9]+"), "an integer in decimal digits"),
    float: (re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"), "a decimal number"),
}


def _holds(annotation: Any, kind: type) -> bool:
    """Return whether a type is a kind of number, or optionally one."""
    return annotation is kind or any(_holds(each, kind) for each in get_args(annotation))


_REPEATED = {"dates", "status"}  # parameters that are lists


def refuse_parameters(request: Request, *, accepts_any: bool) -> None:
    """Refuse parameters that would be ignored: repeated ones, and all if the route accepts none."""
    errors = FieldErrors()
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if not accepts_any:
            errors.add(f"?{name}", f"`{name}`: this path accepts no parameters.")
        elif times > 1 and name not in _REPEATED:
            errors.add(f"?{name}", f"`{name}` appears {times} times; give it once.")
    errors.raise_if_any()


def media_type(request: Request) -> str:
    """Return the media type of the body in lower case; empty if missing."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Return whether a media type is JSON, or has its structure (RFC 6839, section 3.1)."""
    return media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json"))


def check_json(request: Request) -> None:
    """Check that the body is declared as JSON, in UTF-8, unless nothing is declared.

    Raises:
        UnsupportedMediaType: If it is declared as something else.
    """
    given = media_type(request)
    if given and not is_json(given):
        by_curl = " (curl's default for `-d`)" if given == "application/x-www-form-urlencoded" else ""
        raise UnsupportedMediaType(
            f"The header `Content-Type: {given[:100]}`{by_curl} does not fit: the body is to be JSON. Send "
            "`Content-Type: application/json`; with curl, add -H 'Content-Type: application/json'.",
            headers={"Accept": JSON},
        )
    check_charset(request)


def check_charset(request: Request) -> None:
    """Check that JSON is declared as UTF-8, its only encoding between systems (RFC 8259, section 8.1).

    Raises:
        UnsupportedMediaType: If another encoding is declared.
    """
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    charset = parameters.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(
            f"The header Content-Type has `charset={charset[:100]}`, but JSON is UTF-8 (RFC 8259, section "
            "8.1): convert the body to UTF-8, and leave `charset` out."
        )


def parse(spec: type[S], body: bytes) -> S:
    """Parse a small JSON body.

    Raises:
        NotJson: If it is not JSON.
        InvalidRequest: If it does not fit the spec, or has a name twice.
    """
    document = parse_json(body)
    try:
        return spec.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(errors=field_errors(error, document)) from None


def declared_bytes(request: Request) -> int:
    """Return the size of the body by Content-Length; 1 if that is unknown."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else 1


def declares_no_body(request: Request) -> bool:
    """Return whether the headers of a request say that it has no body (RFC 9112, section 6.3)."""
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


async def has_body(request: Request) -> bool:
    """Return whether a request has a body of at least one byte; the body can't be read afterwards."""
    async for chunk in request.stream():
        if chunk:
            return True
    return False


def preferred_wait_seconds(request: Request) -> float | None:
    """Return `wait` of the `Prefer` header (RFC 7240), 60 seconds at most; None if missing."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        match = re.fullmatch(r"\s*wait\s*=\s*\"?(\d+)\"?\s*", preference.split(";")[0], re.IGNORECASE)
        if match:
            return min(float(match[1]), MAX_WAIT_SECONDS)
    return None


MAX_KEY_LENGTH = 255
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Key for retries: the same key and request return what the first one created.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_KEY_LENGTH},
    ),
]


def idempotency_key(sent: str | None) -> str | None:
    """Return the key of an `Idempotency-Key` header, without the quotes of a structured field (RFC 9651).

    Raises:
        InvalidRequest: It is empty or too long.
    """
    if sent is None:
        return None
    key = sent.strip().strip('"')
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        error = FieldError("Idempotency-Key", f"Use 1 to {MAX_KEY_LENGTH} characters.")
        raise InvalidRequest("The Idempotency-Key is empty or too long.", [error])
    return key
