"""The OpenAPI document as a contract: each exchange of a test with a service is checked against it."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import orjson
from jsonschema import Draft202012Validator

from service.app import create_app
from service.settings import Settings

MAX_BYTES = 50_000
"""Bodies that are larger are not checked: jsonschema takes a second for some hundred kilobytes."""
MAX_TIMES = 20
"""Number of times for which an answer of one operation and status is checked in one process."""
ANYWHERE = {405}
"""Statuses that any path may have."""

_checked: Counter[tuple[str, int]] = Counter()


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return create_app(Settings()).openapi()


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the pattern of each path, and the path; those without parameters come first."""
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(_pattern(path)), path) for path in paths]


def _pattern(path: str) -> str:
    # A parameter's name may contain slashes.
    path = path.replace("/named_parameters/{name}", "/named_parameters/.+")
    return re.sub(r"{\w+}", "[^/]+", path)


def find_operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the operation of a request; None if the document has none."""
    for pattern, template in _patterns():
        if pattern.fullmatch(path) and method.lower() in document()["paths"][template]:
            return f"{method} {template}", document()["paths"][template][method.lower()]
    return None


@cache
def validator(reference: str) -> Draft202012Validator:
    """Return the validator of a schema of the document.

    Args:
        reference: JSON pointer of the schema, e.g. `#/components/schemas/JobRequest`.
    """
    return Draft202012Validator(
        {"$ref": reference, **document()}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def errors_of(reference: str, value: Any) -> list[str]:
    """Return the errors of a value by a schema of the document, each with its location."""
    return [
        f"{error.json_path}: {error.message[:500]}"
        for error in _leaves(validator(reference).iter_errors(value))
    ]


def _leaves(errors: Any) -> Iterator[Any]:
    """Yield the errors of the alternatives of unions instead of the unions' own."""
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


def _pointer(*parts: str) -> str:
    return "/".join(["#", *(part.replace("~", "~0").replace("/", "~1") for part in parts)])


def check_exchange(response: httpx.Response) -> None:
    """Assert that an answer is documented, and that a request that was accepted is valid by the document."""
    request = response.request
    found = find_operation(request.method, request.url.path)
    if found is None or response.status_code in ANYWHERE:
        return
    name, operation = found
    status = str(response.status_code)
    assert status in operation["responses"], f"{name} does not document {status}: {_body(response)!r}"
    key = name, response.status_code
    _checked[key] += 1
    base = ("paths", name.partition(" ")[2], request.method.lower())
    if response.is_success:
        _check_request(request, operation, base, name)
    if _checked[key] > MAX_TIMES:
        return
    content = operation["responses"][status].get("content", {})
    media_type = _media_type(response.headers)
    if media_type:
        assert media_type in content, f"{name} {status} does not document {media_type}"
    body = _body(response)
    if body and media_type.endswith("json"):
        errors = errors_of(
            _pointer(*base, "responses", status, "content", media_type, "schema"), orjson.loads(body)
        )
        assert not errors, f"{name} {status}: {errors}"


def _check_request(
    request: httpx.Request, operation: dict[str, Any], base: tuple[str, ...], name: str
) -> None:
    media_type = _media_type(request.headers)
    is_plain = "content-encoding" not in request.headers and isinstance(request.stream, httpx.ByteStream)
    if "requestBody" not in operation or media_type != "application/json" or not is_plain:
        return
    body = request.read()
    if not 0 < len(body) <= MAX_BYTES:
        return
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:  # JSON Lines, or another format, which is detected
        return
    errors = errors_of(_pointer(*base, "requestBody", "content", media_type, "schema"), value)
    assert not errors, f"{name} accepted a request that is invalid by the document: {errors}"


def _media_type(headers: httpx.Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _body(response: httpx.Response) -> bytes:
    """Return a small body; neither streams of events and files nor Zstandard are read."""
    if response.headers.get("content-encoding") == "zstd":
        return b""
    size = response.headers.get("content-length", "")
    return response.read() if size.isdigit() and int(size) <= MAX_BYTES else b""
