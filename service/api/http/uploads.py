"""File uploads: bodies of any size are written to a folder and read in a helper process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Generic, Literal, NamedTuple, Self, TypeVar

import orjson
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from starlette.requests import ClientDisconnect

from service.api.http import requests
from service.api.http.content_encoding import declared_compression
from service.api.state import Services
from service.errors import (
    BadRequest,
    ContentTooLarge,
    FieldError,
    FieldErrors,
    InvalidRequest,
    UnsupportedMediaType,
    pointer_to,
)
from service.helper.request import Request as HelperRequest
from service.specs.base import field_errors, published
from service.specs.data import ColumnNames
from service.specs.reading import ColumnTypes, DateFormat, Thousands
from service.specs.text_encodings import python_name
from service.specs.upload import (
    GENERIC_MEDIA_TYPES,
    MEDIA_TYPES,
    SPACES,
    Format,
    IndexColumn,
    ReadOptions,
    Upload,
)

FILE_PART = "file"
MULTIPART = "multipart/form-data"
_LONGEST_FIELD_BYTES = 2**16
_MOST_PARTS = 20
_COLUMN_TYPES: TypeAdapter[ColumnTypes] = TypeAdapter(ColumnTypes)
_COLUMN_NAMES: TypeAdapter[list[str]] = TypeAdapter(ColumnNames)
# Patterns for the OpenAPI document.
_DELIMITER = r"^([\t -!#-~]|\\t|tab|comma|semicolon|bar|spaces?)$"
_WORDS = "^[^,]+(,[^,]+)*$"
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}


class UploadQuery(requests.Query):
    """Options of an upload; a multipart body may have them as parts."""

    def options(self) -> ReadOptions:
        """Return the options for reading the file that are set."""
        return ReadOptions()


class ReadQuery(UploadQuery):
    """Options for reading a file; a multipart body may have them as parts."""

    delimiter: Annotated[str, published(pattern=_DELIMITER)] | None = None
    """For CSV: delimiter, one character, `tab`, or `spaces` for any number of spaces. Default: the most \
frequent of comma, semicolon, tab and bar in the first line, or `spaces` if there is none of them."""
    header: bool | None = None
    """For CSV: `false` if the first line is a row; columns are then named `column_1`, `column_2`, …. \
Default: `header=absent` or `header=present` in Content-Type, otherwise `true`."""
    skip_lines: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """For CSV: number of lines before the table, such as a title, comments or a line of counts."""
    index: IndexColumn | None = None
    """For CSV, Parquet and Arrow: what to do with an unnamed first column, or pandas' `__index_level_0__`. \
`drop` leaves it out, `keep` reads it as the column `index`. Default: `auto`, which leaves it out if it \
consists of row numbers, and says so in `warnings`."""
    ignore: Annotated[str, published(minLength=1)] | None = None
    """For CSV, Parquet and Arrow: names of columns to leave out, comma-separated or a JSON list. A third \
column that has no name is `column_3`."""
    encoding: Annotated[str, published(minLength=1)] | None = None
    """For CSV: encoding, e.g. `latin-1`, `windows-1252`, `utf-16-le`. Default: `charset` in Content-Type, \
otherwise UTF-8, or UTF-16 if a byte order mark says so."""
    missing: Annotated[str, published(pattern=_WORDS)] | None = None
    """Further cells that mean a missing value, comma-separated, e.g. `-999,?`. Numbers are compared by \
value."""
    decimal: Literal[".", ","] | None = None
    """Decimal sign of numbers. Default: `.`."""
    thousands: Thousands | None = None
    """Character between groups of three digits of numbers. Default: none."""
    percent: bool | None = None
    """If `true`, numbers may end with a per cent sign: `3%` is 0.03."""
    units: Annotated[str, published(pattern=_WORDS)] | None = None
    """Texts before or after a number to ignore, comma-separated, e.g. `$,€,kg`."""
    dates: list[DateFormat] | None = None
    """Format of dates and times besides ISO 8601, with the directives of C's strptime, e.g. `%d.%m.%Y`; \
in a URL, `%` is written `%25`. Repeat the parameter for several formats."""
    types: Annotated[str, published(minLength=1)] | None = None
    """Column types that override the detected ones: `zip:categorical,when:datetime`, or a JSON object. The \
types are `numeric`, `boolean`, `categorical` and `datetime`."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = _DELIMITERS.get(value, value)
        if value == SPACES:
            return value
        if value != "\t" and (
            len(value) != 1 or not value.isascii() or not value.isprintable() or value == '"'
        ):
            raise ValueError("Use one printable ASCII character other than a quote, `tab` or `spaces`.")
        return value

    @field_validator("dates", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value  # a part of a multipart body

    @field_validator("missing", "units")
    @classmethod
    def _says_words(cls, value: str) -> str:
        if not all(value.split(",")):
            raise ValueError("Use comma-separated words; an empty cell always means a missing value.")
        return value

    @field_validator("ignore")
    @classmethod
    def _lists_names(cls, value: str) -> str:
        _read_names(value)
        return value

    @field_validator("types")
    @classmethod
    def _known_types(cls, value: str) -> str:
        _read_types(value)
        return value

    @model_validator(mode="after")
    def _valid_options(self) -> Self:
        self.options()  # its errors are those of the parameters
        return self

    def options(self) -> ReadOptions:
        """Return the options that are set."""
        given: dict[str, Any] = {
            "delimiter": self.delimiter,
            "header": self.header,
            "skip_lines": self.skip_lines,
            "index": self.index,
            "ignore": None if self.ignore is None else _read_names(self.ignore),
            "encoding": self.encoding,
            "missing": None if self.missing is None else self.missing.split(","),
            "decimal": self.decimal,
            "thousands": self.thousands,
            "percent": self.percent,
            "units": None if self.units is None else self.units.split(","),
            "dates": self.dates,
            "types": None if self.types is None else _read_types(self.types),
        }
        return ReadOptions(**{name: value for name, value in given.items() if value is not None})


def _read_names(text: str) -> list[str]:
    try:
        names = orjson.loads(text) if text.startswith("[") else [name.strip() for name in text.split(",")]
        return _COLUMN_NAMES.validate_python(names, strict=True)
    except (orjson.JSONDecodeError, ValidationError):
        raise ValueError("Use comma-separated column names, or a JSON list of them.") from None


def _read_types(text: str) -> ColumnTypes:
    try:
        if text.startswith("{"):
            return _COLUMN_TYPES.validate_python(orjson.loads(text), strict=True)
        pairs = (pair.rpartition(":") for pair in text.split(","))
        return _COLUMN_TYPES.validate_python({name.strip(): kind.strip() for name, _, kind in pairs})
    except (orjson.JSONDecodeError, ValidationError):
        raise ValueError(
            "Use comma-separated `column:type` pairs or a JSON object; the types are numeric, boolean, "
            "categorical, datetime."
        ) from None


A = TypeVar("A")
T = TypeVar("T")
Q = TypeVar("Q", bound=UploadQuery)


class Received(NamedTuple, Generic[Q]):
    """A received body and the options of its sender."""

    upload: Upload
    query: Q


def is_plain_json(request: Request, query: ReadQuery) -> bool:
    """Return whether a body is JSON that can be read in memory: uncompressed and without file options."""
    if not requests.is_json(requests.media_type(request)) or "content-encoding" in request.headers:
        return False
    requests.check_charset(request)
    return query.model_fields_set.isdisjoint(ReadQuery.model_fields)


@asynccontextmanager
async def receive(
    request: Request, services: Services, query: Q, media_types: Mapping[str, Format] = MEDIA_TYPES
) -> AsyncIterator[Received[Q]]:
    """Write a body to a folder that exists until the context ends; it is never entirely in memory.

    The body is the file itself, or `multipart/form-data` with a part `file`.

    Args:
        request: The request.
        services: The services.
        query: The options in the query, which the parts of a multipart body may complete.
        media_types: The formats that are accepted, by their media types.

    Raises:
        UnsupportedMediaType: If its media type or content encoding is not supported.
        ContentTooLarge: If it exceeds the limit, as soon as this is known.
        InvalidRequest: If the parts of a multipart body are invalid.
        BadRequest: If it is malformed as multipart.
        ClientDisconnect: If it ends early.
        StorageFull: If the disk has no room for it.
    """
    services.storage.room.check_disk(requests.declared_bytes(request))
    compression = declared_compression(request)
    kind = requests.media_type(request)
    multipart = kind == MULTIPART
    if multipart and compression:
        raise UnsupportedMediaType(
            "A multipart body can't have a Content-Encoding; compress the file in it instead.",
            headers={"Accept-Encoding": "identity"},
        )
    form = None if multipart else _format(kind, media_types)
    if form in ("json", "jsonl"):
        requests.check_charset(request)
    folder = await run_in_threadpool(services.spool.make)
    try:
        upload = Upload(folder=str(folder), format=form, compression=compression, options=query.options())
        if multipart:
            received = await _receive_parts(request, services, upload, query, media_types)
        else:
            await _receive_file(request, services, upload)
            received = Received(_with_parameters(upload, request.headers.get("content-type", "")), query)
        # The server stops reading when a body arrives fast; this call resumes it, so disconnects are seen.
        if await request.is_disconnected():
            raise ClientDisconnect
        yield received
    finally:
        await run_in_threadpool(services.spool.remove, folder)


async def call(services: Services, request: HelperRequest[A]) -> tuple[A, memoryview]:
    """Call a helper with a received body, under the time limit of uploads."""
    return await services.helpers.call(request, timeout_seconds=services.settings.upload_timeout_seconds)


def _format(given: str, media_types: Mapping[str, Format]) -> Format | None:
    """Return the format of a media type; None for a generic one."""
    if given in GENERIC_MEDIA_TYPES:
        return None
    if requests.is_json(given) and "json" in media_types.values():
        return "json"
    if given not in media_types:
        supported = ", ".join([*media_types, MULTIPART])
        raise UnsupportedMediaType(
            f"The header `Content-Type: {given[:100]}` does not fit: send one of {supported}, or no "
            "Content-Type (in curl, -H 'Content-Type:'), and the format is detected.",
            headers={"Accept": supported},
        )
    return media_types[given]


def _with_parameters(upload: Upload, content_type: str) -> Upload:
    """Apply `charset` and, for CSV, `header` (RFC 4180) of Content-Type, unless the options are set."""
    kind, parameters = parse_options_header(content_type)
    said: dict[str, Any] = {}
    if kind.startswith("text/") and "charset" in parameters:
        said["encoding"] = parameters["charset"]
        if "encoding" not in upload.options.model_fields_set:
            _check_encoding(parameters["charset"])
    if upload.format == "csv" and "header" in parameters:
        said["header"] = _has_header(parameters["header"])
    options = ReadOptions(**{**said, **upload.options.model_dump(exclude_unset=True)})
    return upload.model_copy(update={"options": options})


def _check_encoding(charset: str) -> None:
    try:
        python_name(charset)
    except ValueError as error:
        raise InvalidRequest(errors=[FieldError("Content-Type", str(error))]) from None


def _has_header(said: str) -> bool:
    if said.lower() not in ("present", "absent"):
        raise UnsupportedMediaType(f"Content-Type has `header={said}`; use `present` or `absent`.")
    return said.lower() == "present"


async def _receive_file(request: Request, services: Services, upload: Upload) -> None:
    settings = services.settings
    is_json = upload.format == "json"
    most_bytes = settings.max_body_bytes if is_json else settings.max_upload_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes:
        remedy = "; send a larger table as CSV or Parquet" if is_json else ""
        raise ContentTooLarge(f"The body has {declared} bytes; the limit is {most_bytes}{remedy}.")
    with services.bodies.open_file(upload.body, most_bytes) as file:
        async for chunk in request.stream():
            await file.write(chunk)


async def _receive_parts(
    request: Request, services: Services, upload: Upload, query: Q, media_types: Mapping[str, Format]
) -> Received[Q]:
    """Write the part `file` as the body; read the other parts as options."""
    fields: dict[str, bytearray] = {}
    file_part: MultipartSegment | None = None
    errors = FieldErrors()
    with services.bodies.open_file(upload.body, services.settings.max_upload_bytes) as file:
        async for part, piece in _parts(request):
            name = part.name or ""
            if piece is None and (name in fields or (name == FILE_PART and file_part)):
                errors.add(pointer_to("#", name), f"The part `{name}` appears more than once.")
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
        errors.add(f"#/{FILE_PART}", f"The part `{FILE_PART}`, which has the data, is missing.")
    query, found = _with_fields(query, fields)
    errors.extend(found)
    if errors or file_part is None:
        raise InvalidRequest(errors=errors)
    kind = file_part.content_type or ""
    upload = upload.model_copy(update={"format": _format(kind, media_types), "options": query.options()})
    return Received(_with_parameters(upload, file_part.header("Content-Type", "")), query)


def _with_fields(query: Q, fields: Mapping[str, bytearray]) -> tuple[Q, FieldErrors]:
    """Merge the parts of a multipart body into the query; return it with the errors in the parts."""
    document = {name: value.decode(errors="replace") for name, value in fields.items()}
    try:
        return type(query).model_validate(query.model_dump(exclude_unset=True) | document), FieldErrors()
    except ValidationError as error:
        return query, field_errors(error, document)


async def _parts(request: Request) -> AsyncIterator[tuple[MultipartSegment, bytes | None]]:
    """Yield each part of a multipart body, first with None, then with each piece of its content."""
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
        raise BadRequest(f"The body is not valid {MULTIPART}: {error}.") from None
