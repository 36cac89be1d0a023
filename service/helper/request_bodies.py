"""Reading the bodies that clients send: JSON, and uploaded files."""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
import pyarrow as pa
from pydantic import ValidationError

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.table_reading import TableReading
from service.datasets.sources.as_sent import Columns, columns_of_file
from service.datasets.sources.columns import check_types
from service.datasets.sources.compression import decompress
from service.datasets.sources.formats import FileContent, check_options, detect_format, is_table, open_file
from service.datasets.sources.json import read_json
from service.datasets.sources.json_lines import JsonLines, parse_lines
from service.datasets.validation import ErrorCollector
from service.errors import ContentTooLarge, InvalidRequest, NotJson
from service.settings import Settings
from service.specs.base import Spec, field_errors
from service.specs.data import DatasetContent
from service.specs.json_document import parse_json
from service.specs.upload import Format, ReadOptions, Upload

S = TypeVar("S", bound=Spec)


class JsonTable(NamedTuple):
    """A parsed JSON body that has a table, tensors, or the id of a dataset.

    Attributes:
        document: An object, or a list of rows.
    """

    document: Any


def parse_table(body: bytes, is_lines: bool = False) -> JsonTable:
    """Parse a JSON body or JSON Lines.

    Args:
        body: The body.
        is_lines: Whether it is JSON Lines. Otherwise it is if its first line is an object and others follow.

    Raises:
        NotJson: With the position of the syntax error.
        InvalidRequest: With every name that appears twice in one object.
    """
    try:
        return JsonTable(_parse_lines(body) if is_lines else parse_json(body, is_table=True))
    except NotJson:
        if is_lines or not _has_object_in_first_line(body):
            raise
    return JsonTable(_parse_lines(body))


def _has_object_in_first_line(body: bytes) -> bool:
    first, _, others = body.strip().partition(b"\n")
    try:
        return bool(others) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _parse_lines(body: bytes) -> JsonLines:
    errors = ErrorCollector()
    lines = enumerate(body.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1)
    rows = parse_lines(((number, line) for number, line in lines if line.strip()), 0, errors)
    errors.raise_if_any()
    return JsonLines(rows)


def validated(model: type[S], document: Any) -> S:
    """Validate a document.

    Raises:
        InvalidRequest: With every error.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(errors=field_errors(error, document)) from None


def open_upload(
    upload: Upload, settings: Settings, model: TableReading | None = None
) -> FileContent | JsonTable:
    """Open a received file.

    Args:
        upload: The file.
        settings: The limits.
        model: For a table that is sent to a model: how it is read, and only the columns that it names.

    Returns:
        The rows or tensors, not read yet; of a JSON file, the document.

    Raises:
        UnsupportedMediaType: The content contradicts its declared format, or its format is not supported.
        ContentTooLarge: Decompressed, the content exceeds the limit.
        InvalidRequest: The content can't be read.
    """
    path = decompress(upload.body, upload.compression, settings.max_dataset_bytes)
    name = detect_format(path, upload.format)
    if name == "json" or (name == "jsonl" and model is not None):
        return _parse_file(path, name, upload.options, settings.max_body_bytes, model)
    if not is_table(name) or model is None:
        return open_file(path, name, upload.options, settings.max_dataset_bytes)
    check_options(name, upload.options)
    options = model.for_request(upload.options)
    return open_file(path, name, options, settings.max_dataset_bytes, model.types, model.known)


def _parse_file(
    path: Path, name: Format, options: ReadOptions, max_bytes: int, model: TableReading | None
) -> JsonTable:
    """Parse a file of JSON, or of rows for a model."""
    check_options(name, options)
    if model is not None:
        model.for_request(options)
    if path.stat().st_size > max_bytes:
        raise ContentTooLarge(f"JSON is limited to {max_bytes} bytes; send a larger table as CSV or Parquet.")
    return parse_table(path.read_bytes(), is_lines=name == "jsonl")


def columns_as_sent(upload: Upload, settings: Settings, model: TableReading, names: Sequence[str]) -> Columns:
    """Read the columns `names` that a table for a model has, as they were sent; see `columns_of_file`."""
    path = decompress(upload.body, upload.compression, settings.max_dataset_bytes)
    numeric = [name for name in names if model.types[name] == "numeric"]
    options = model.for_request(upload.options)
    return columns_of_file(path, detect_format(path, upload.format), options, names, numeric)


def in_memory(source: FileContent) -> Dataset:
    """Read a whole source into memory."""
    if isinstance(source, TensorDataset):
        return source
    return TabularDataset(source.read(lambda batches: pa.Table.from_batches(list(batches))))


def read_content(body: JsonTable, sent: ReadOptions) -> tuple[Dataset, str | None]:
    """Read the dataset in a JSON body.

    Args:
        body: The body.
        sent: Options of the request.

    Returns:
        The dataset, and the name that the body gives it.

    Raises:
        InvalidRequest: With every error, or with the first 100 and their number.
    """
    document = body.document
    if isinstance(document, list):
        rows = read_json(document, options=sent)
        assert isinstance(rows, TabularDataset)
        errors = ErrorCollector()
        check_types(sent.types, rows.table.column_names, "?types", errors)
        errors.raise_if_any()
        return rows, None
    content, errors = None, ErrorCollector()
    try:
        content = DatasetContent.model_validate(document)
    except ValidationError as error:
        errors.extend(field_errors(error, document))
    if not isinstance(document, dict):
        errors.raise_if_any()
    options = sent if content is None else _combined(content, sent)
    dataset = read_json(document, errors=errors, options=options)  # raises the errors collected before, too
    assert content is not None
    if isinstance(dataset, TabularDataset):
        check_types(options.types, dataset.table.column_names, "#/types", errors)
    elif content.types:
        errors.add("#/types", "Tensors have no columns; remove `types`.")
    errors.raise_if_any()
    return dataset, content.name


def _combined(content: DatasetContent, sent: ReadOptions) -> ReadOptions:
    """Combine the options of a request with those in its body, which take precedence."""
    own = content.reading.model_dump(exclude_unset=True)
    options = ReadOptions(**sent.model_dump(exclude_unset=True) | own)
    types = {**sent.types, **content.reading.types, **content.types}
    return options.model_copy(update={"types": types}) if types else options
