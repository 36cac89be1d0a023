"""Receiving files: a body of any size is written to a folder of its own, and read in a helper process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, Self, TypeVar, get_args

import orjson
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import TypeAdapter, ValidationError, field_validator
from starlette.requests import ClientDisconnect

from service import retry_after
from service.api.http import requests
from service.api.state import Services
from service.errors import (
    BadRequest,
    ContentTooLarge,
    FieldError,
    InvalidRequest,
    Unavailable,
    UnsupportedMediaType,
    pointer_to,
)
from service.helper.request import Request as HelperRequest
from service.specs.base import field_errors
from service.specs.data import ColumnTypes
from service.specs.upload import GENERIC_MEDIA_TYPES, MEDIA_TYPES, Format, Packing, ReadOptions, Upload

FILE_PART = "file"
MULTIPART = "multipart/form-data"
_WRITE_BYTES = 2**20
_LONGEST_FIELD_BYTES = 2**16
_MOST_PARTS = 20
_COLUMN_TYPES: TypeAdapter[ColumnTypes] = TypeAdapter(ColumnTypes)
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}


class ReadQuery(requests.Query):
    """How to read a file; in a multipart body, parts of the same names say it too."""

    delimiter: str | None = None
    """Of a CSV: one character, or `tab`. Default: of comma, semicolon, tab and bar the one that divides \
the first line most."""
    header: bool | None = None
    """Of a CSV: `false` when its first line is a row; the columns are `column_1`, `column_2`, … then. \
Default: what `header=absent` or `header=present` in its Content-Type says, else `true`."""
    encoding: str | None = None
    """Of a CSV: e.g. `latin-1`, `windows-1252`, `utf-16-le`. Default: the `charset` of its Content-Type, \
else UTF-8, or UTF-16 with a byte order mark."""
    missing: str | None = None
    """Of a CSV: cells that mean a missing value beside the usual ones, comma-separated, e.g. `-999,?`."""
    types: str | None = None
    """Columns that are not to be what their values look like: `zip:categorical,when:datetime`, or a JSON \
object. The types are `numeric`, `boolean`, `categorical` and `datetime`."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = _DELIMITERS.get(value, value)
        if value != "\t" and (
            len(value) != 1 or not value.isascii() or not value.isprintable() or value == '"'
        ):
            raise ValueError("Give one printable ASCII character, which is no quote, or `tab`.")
        return value

    @field_validator("missing")
    @classmethod
    def _says_words(cls, value: str) -> str:
        if not all(value.split(",")):
            raise ValueError("Give words, comma-separated: an empty cell means a missing value anyway.")
        return value

    @field_validator("types")
    @classmethod
    def _known_types(cls, value: str) -> str:
        _read_types(value)
        return value

    def options(self) -> ReadOptions:
        """What of it is given."""
        given: dict[str, Any] = {
            "delimiter": self.delimiter,
            "header": self.header,
            "encoding": self.encoding,
            "missing": None if self.missing is None else self.missing.split(","),
            "types": None if self.types is None else _read_types(self.types),
        }
        return ReadOptions(**{name: value for name, value in given.items() if value is not None})


def _read_types(text: str) -> ColumnTypes:
    try:
        if text.startswith("{"):
            return _COLUMN_TYPES.validate_python(orjson.loads(text), strict=True)
        pairs = (pair.rpartition(":") for pair in text.split(","))
        return _COLUMN_TYPES.validate_python({name.strip(): kind.strip() for name, _, kind in pairs})
    except (orjson.JSONDecodeError, ValidationError):
        raise ValueError(
            "Give `column:type` pairs, comma-separated, or a JSON object; the types are numeric, boolean, "
            "categorical, datetime."
        ) from None


A = TypeVar("A")
Q = TypeVar("Q", bound=ReadQuery)


class Received(NamedTuple, Generic[Q]):
    """A body that lies in its folder, and what its sender says about it."""

    upload: Upload
    query: Q


def media_type(request: Request) -> str:
    """The body's media type, in small letters; empty if there is none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_plain_json(request: Request, query: ReadQuery) -> bool:
    """Whether a body is JSON that needs no folder: not packed, and without options that are for files."""
    is_json = media_type(request) == requests.JSON and "content-encoding" not in request.headers
    return is_json and not query.options().model_fields_set


@asynccontextmanager
async def receive(request: Request, services: Services, query: Q) -> AsyncIterator[Received[Q]]:
    """Write a body to a folder, which is there until the context ends.

    The body is the file itself, or `multipart/form-data` with a part `file`. It is never whole in memory.

    Raises:
        UnsupportedMediaType: its type or its encoding is not taken.
        ContentTooLarge: as soon as it is known to be over the limit.
        InvalidRequest: the parts of a multipart body are not those that are taken.
        BadRequest: it can't be read as multipart, or ends early.
    """
    packing = _packing(request)
    multipart = media_type(request) == MULTIPART
    form = None if multipart else _format(media_type(request))
    folder = await run_in_threadpool(services.spool.make)
    try:
        upload = Upload(folder=str(folder), format=form, packing=packing, options=query.options())
        if multipart:
            received = await _receive_parts(request, services, upload, query)
        else:
            await _receive_file(request, services, upload)
            received = Received(_with_parameters(upload, request.headers.get("content-type", "")), query)
        # The server stops reading where a body comes fast; asked once, it reads on and sees who leaves.
        if await request.is_disconnected():
            raise ClientDisconnect
        yield received
    except ClientDisconnect:
        raise BadRequest("The body ended before it was complete.") from None
    finally:
        await run_in_threadpool(services.spool.remove, folder)


async def call(services: Services, request: HelperRequest[A]) -> tuple[A, memoryview]:
    """Have a helper work on a received body, under the time limit of uploads.

    One helper at least is left for other requests, where there are several.

    Raises:
        Unavailable: the helpers were busy with other files for as long as one may take.
    """
    limit_seconds = services.settings.upload_timeout_seconds
    try:
        async with asyncio.timeout(limit_seconds):
            await services.upload_slots.acquire()
    except TimeoutError:
        raise Unavailable(
            "Other files are being read.", retry_after_seconds=retry_after.UPLOADS_SECONDS
        ) from None
    try:
        return await services.helpers.call(request, timeout_seconds=limit_seconds)
    finally:
        services.upload_slots.release()


def _packing(request: Request) -> Packing | None:
    given = request.headers.get("content-encoding", "identity").strip().lower()
    given = {"x-gzip": "gzip", "identity": ""}.get(given, given)
    if given and media_type(request) == MULTIPART:
        raise UnsupportedMediaType("A multipart body comes without Content-Encoding: pack the file in it.")
    for packing in get_args(Packing):
        if given == packing:
            return packing  # type: ignore[no-any-return]
    if given:
        raise UnsupportedMediaType(f"Content-Encoding `{given}` is not taken: send gzip or zstd, or neither.")
    return None


def _format(given: str) -> Format | None:
    """The format that a media type names; None: it says nothing."""
    if given in GENERIC_MEDIA_TYPES:
        return None
    if given not in MEDIA_TYPES:
        taken = ", ".join([*MEDIA_TYPES, MULTIPART])
        raise UnsupportedMediaType(f"Content-Type `{given}` is not taken here: send one of {taken}, or none.")
    return MEDIA_TYPES[given]


def _with_parameters(upload: Upload, content_type: str) -> Upload:
    """The upload, read as the `charset` and, of a CSV, the `header` (RFC 4180) of its Content-Type say, where
    nothing else is said."""
    kind, parameters = parse_options_header(content_type)
    said: dict[str, Any] = {}
    if kind.startswith("text/") and "charset" in parameters:
        said["encoding"] = parameters["charset"]
    if upload.format == "csv" and "header" in parameters:
        said["header"] = _has_header(parameters["header"])
    options = ReadOptions(**{**said, **upload.options.model_dump(exclude_unset=True)})
    return upload.model_copy(update={"options": options})


def _has_header(said: str) -> bool:
    if said.lower() not in ("present", "absent"):
        raise UnsupportedMediaType(f"Content-Type says `header={said}`: say `present` or `absent`.")
    return said.lower() == "present"


async def _receive_file(request: Request, services: Services, upload: Upload) -> None:
    settings = services.settings
    most_bytes = settings.max_body_bytes if upload.format == "json" else settings.max_upload_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes:
        raise ContentTooLarge(f"The body has {declared} bytes; at most {most_bytes} are taken.")
    async with _BodyFile.open(upload.body, most_bytes) as file:
        async for chunk in request.stream():
            await file.write(chunk)


async def _receive_parts(request: Request, services: Services, upload: Upload, query: Q) -> Received[Q]:
    """The part `file` as the body, the others as options beside those of the query."""
    fields: dict[str, bytearray] = {}
    file_part: MultipartSegment | None = None
    mistakes: list[FieldError] = []
    async with _BodyFile.open(upload.body, services.settings.max_upload_bytes) as file:
        async for part, piece in _parts(request):
            name = part.name or ""
            if piece is None and (name in fields or (name == FILE_PART and file_part)):
                mistakes.append(FieldError(pointer_to("#", name), f"There are several parts `{name}`."))
            elif piece is None and name == FILE_PART:
                file_part = part
            elif piece is None:
                fields[name] = bytearray()
            elif name == FILE_PART:
                await file.write(piece)
            else:
                fields[name] += piece
                if len(fields[name]) > _LONGEST_FIELD_BYTES:
                    raise ContentTooLarge(f"The part `{name}` has more than {_LONGEST_FIELD_BYTES} bytes.")
    if file_part is None:
        mistakes.append(FieldError("#", f"There is no part called `{FILE_PART}`: it has the data."))
    query, found = _with_fields(query, fields)
    if mistakes or found or file_part is None:
        raise InvalidRequest(errors=[*mistakes, *found])
    kind = file_part.content_type or ""
    upload = upload.model_copy(update={"format": _format(kind), "options": query.options()})
    return Received(_with_parameters(upload, file_part.header("Content-Type", "")), query)


def _with_fields(query: Q, fields: Mapping[str, bytearray]) -> tuple[Q, list[FieldError]]:
    """The query with what the parts of a multipart body say, and what is wrong with these."""
    document = {name: value.decode(errors="replace") for name, value in fields.items()}
    try:
        return type(query).model_validate(query.model_dump(exclude_unset=True) | document), []
    except ValidationError as error:
        return query, field_errors(error, document)


async def _parts(request: Request) -> AsyncIterator[tuple[MultipartSegment, bytes | None]]:
    """Each part of a multipart body: first with None, then with the pieces of its content."""
    _, options = parse_options_header(request.headers["content-type"])
    try:
        with PushMultipartParser(options.get("boundary", ""), max_segment_count=_MOST_PARTS) as parser:
            async for chunk in request.stream():
                for event in parser.parse(chunk) if chunk else ():
                    if isinstance(event, MultipartSegment):
                        part = event
                        yield part, None
                    elif event:
                        yield part, bytes(event)
    except MultipartError as error:
        raise BadRequest(f"The body can't be read as {MULTIPART}: {error}.") from None


class _BodyFile:
    """A file that is written about 1 MiB at a time, in another thread: a slow disk holds up nobody else."""

    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._waiting = bytearray()
        self._bytes = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, most_bytes: int) -> AsyncIterator[Self]:
        """The file at a path; all is written when the context ends."""
        try:
            with path.open("wb") as file:
                body = cls(file, most_bytes)
                yield body
                await body._flush()
        except OSError as error:
            detail = f"The body can't be written: {error.strerror}."
            raise Unavailable(detail, retry_after_seconds=retry_after.SPOOL_SECONDS) from error

    async def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            ContentTooLarge: it goes beyond what is taken.
        """
        self._bytes += len(piece)
        if self._bytes > self._most_bytes:
            raise ContentTooLarge(f"The body has more than the {self._most_bytes} bytes that are taken.")
        self._waiting += piece
        if len(self._waiting) >= _WRITE_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        await run_in_threadpool(self._file.write, waiting)
