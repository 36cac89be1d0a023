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

from service.api.schemas.problems import Problem
from service.errors import FitserveError
from service.specs.upload import MEDIA_TYPES

JSON = "application/json"
_PIECE_BYTES = 2**18


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
    file = path.open("rb")
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return StreamingResponse(_pieces(file), headers=headers, media_type=media_type)


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
    return {status: {"model": Problem, "description": " / ".join(each)} for status, each in titles.items()}


def json_body(model: type[BaseModel], required: bool = True, **others: Any) -> dict[str, Any]:
    """Document a JSON body that our own code parses, and further media types."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}, **others}
    return {"requestBody": {"required": required, "content": content}}


def file_body(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """Document a body that is JSON, a list of rows as JSON, a file, or a form with a file."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    file = {"type": "string", "format": "binary", "description": "The file."}
    part = {"schema": {"type": "object", "required": ["file"], "properties": {"file": file}}}
    others = [media_type for media_type in MEDIA_TYPES if media_type != JSON]
    document = json_body(
        model,
        required,
        **dict.fromkeys([*others, "application/octet-stream"], binary),
        **{"multipart/form-data": part},
    )
    rows = {"type": "array", "minItems": 1, "items": {"type": "object", "additionalProperties": True}}
    content = document["requestBody"]["content"]
    content[JSON] = {"schema": {"anyOf": [content[JSON]["schema"], rows]}}
    return document
