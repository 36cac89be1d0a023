"""Responses, and their documentation."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from service import retry_after
from service.api.http.headers import headers
from service.api.schemas.problems import Problem
from service.errors import FitserveError, Unavailable
from service.file_errors import unavailable
from service.specs.upload import MEDIA_TYPES

JSON = "application/json"
FORM = "multipart/form-data"
_PIECE_BYTES = 2**18
# Contents of responses and bodies in the OpenAPI document.
BINARY = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}
_ANY_FILE = "application/octet-stream"
_FILES = dict.fromkeys([*(each for each in MEDIA_TYPES if each != JSON), _ANY_FILE], BINARY)


def json_response(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
) -> Response:
    """Return a JSON response; bytes are sent as they are, NaN becomes null."""
    body = document if isinstance(document, bytes | memoryview) else orjson.dumps(document)
    return Response(body, status, dict(headers or {}), media_type)


def streamed(path: Path, media_type: str, filename: str | None = None) -> Response:
    """Stream a file, which may be unlinked once this returns.

    Args:
        path: The file.
        media_type: Its media type.
        filename: Name under which the client may save it.
    """
    file = open_answer(path)
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return StreamingResponse(_pieces(file), headers=headers, media_type=media_type)


def open_answer(path: Path) -> BinaryIO:
    """Open a file that a helper has written; once it is open, it can be deleted before it is sent.

    Raises:
        Unavailable: It is gone, or can't be read.
    """
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise unavailable(error, "The answer can't be read", retry_after.SPOOL_SECONDS) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def embedded(text: str | None) -> orjson.Fragment | None:
    """Embed JSON text from the database in a document without parsing it."""
    return None if text is None else orjson.Fragment(text)


def timestamp(time: datetime | None) -> str | None:
    """Format a time by RFC 3339, in UTC with microseconds."""
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def problems(*errors: type[FitserveError]) -> dict[int | str, dict[str, Any]]:
    """Document the errors of a route."""
    titles: dict[int | str, list[str]] = {}
    for error in errors:
        titles.setdefault(error.status, []).append(error.title)
    return {
        status: {
            "model": Problem,
            "description": " / ".join(each),
            **(headers("Retry-After") if status == Unavailable.status else {}),
        }
        for status, each in titles.items()
    }


def json_body(model: type[BaseModel], *others: str) -> dict[str, Any]:
    """Document a JSON body that our own code parses, and which may have other media types."""
    return _body(True, dict.fromkeys([JSON, *others], _json(model)))


def upload_body(model: type[BaseModel]) -> dict[str, Any]:
    """Document a form with a file, a body that is JSON, or a file.

    Generators of clients support one media type for each operation, mostly the first one.
    """
    return _body(True, {**_form(), JSON: _json(model), **_FILES})


def file_body(media_type: str) -> dict[str, Any]:
    """Document a form with a file, or a file of one type."""
    return _body(True, {**_form(), media_type: BINARY, _ANY_FILE: BINARY})


def _form() -> dict[str, Any]:
    file = {**BINARY["schema"], "description": "The file."}
    return {FORM: {"schema": {"type": "object", "required": ["file"], "properties": {"file": file}}}}


def rows_body(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """Document a body that is JSON, a form with a file, or a file."""
    # Without named properties, generators of clients need no model of a form that they don't send.
    parts = "The part `file` is the file; others may be the options for reading it."
    form = {"type": "object", "description": parts, "additionalProperties": BINARY["schema"]}
    return _body(required, {JSON: _json(model), FORM: {"schema": form}, **_FILES})


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def _body(required: bool, content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}
