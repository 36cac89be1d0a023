"""The supported file formats: detection from the content, and the reader of each."""

import codecs
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from service.datasets.dataset import Batches, TensorDataset
from service.datasets.sources.arrow import read_arrow
from service.datasets.sources.csv import CsvTable
from service.datasets.sources.json_lines_table import JsonLinesTable, is_json_lines
from service.datasets.sources.npz import read_npz
from service.datasets.sources.parquet import read_parquet
from service.datasets.sources.safetensors import read_safetensors
from service.datasets.sources.unsupported import HEAD_BYTES, refuse_other_archives, refuse_unsupported
from service.errors import FieldError, InvalidRequest, UnsupportedMediaType
from service.specs.reading import CellOptions
from service.specs.upload import Format, ReadOptions

T = TypeVar("T")


class TableReader(Protocol):
    """A table whose rows can be read from the first one on, any number of times."""

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, without those that are left out."""

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about the reading of the file, as sentences."""

    def read(self, consume: Callable[[Batches], T]) -> T:
        """Read the rows.

        Args:
            consume: Processes the rows, in batches of one schema. It may be called more than once, each time
                with batches from the first row on; only the last call counts.

        Returns:
            The result of the last call of `consume`.
        """


FileContent = TableReader | TensorDataset

NAMES: Mapping[Format, str] = {
    "csv": "CSV",
    "parquet": "Parquet",
    "arrow": "Arrow IPC",
    "npz": "a .npz archive",
    "safetensors": "a .safetensors file",
    "json": "JSON",
    "jsonl": "JSON Lines",
}
_TEXT_FORMATS: set[Format] = {"csv", "json", "jsonl"}

KnownWords = Mapping[str, Collection[str]] | None
_TABLE_READERS: Mapping[
    Format, Callable[[Path, ReadOptions, Collection[str] | None, KnownWords], TableReader]
] = {
    "csv": CsvTable,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "jsonl": JsonLinesTable,
}
_TENSOR_READERS: Mapping[Format, Callable[[Path, int], TensorDataset]] = {
    "npz": read_npz,
    "safetensors": read_safetensors,
}

# Offset and value of the bytes that identify a format.
_MAGIC: Sequence[tuple[int, bytes, Format]] = (
    (0, b"PAR1\x15", "parquet"),  # longer than `PAR1`, which may be the first column name of a CSV file
    (0, b"PAR1PAR1", "parquet"),
    (0, b"ARROW1\0\0", "arrow"),
    (0, b"\xff\xff\xff\xff", "arrow"),
    (0, b"PK\x03\x04", "npz"),
    (0, b"PK\x05\x06", "npz"),
    (4, b"\0\0\0\0{", "safetensors"),  # upper half of the header's length, always zero, and the header
)
# Start of a JSON document that a CSV file can't have: an object or an array of objects.
_JSON = re.compile(rb"\s*(\{|\[\s*[\[{\]])")
_JSON_ROWS = re.compile(rb'\s*(\[\s*)?\{\s*"[^"]*"\s*:')
_APPLICABLE_OPTIONS: Mapping[Format, set[str]] = {
    "csv": set(ReadOptions.model_fields),
    "parquet": {*CellOptions.model_fields, "index", "ignore"},
    "arrow": {*CellOptions.model_fields, "index", "ignore"},
    "json": set(CellOptions.model_fields),
    "jsonl": set(CellOptions.model_fields),
}


def detect_format(path: Path, declared: Format | None) -> Format:
    """Detect the format of a file from its content.

    Args:
        path: The file, decompressed.
        declared: The format that the client declares; None: accept any supported format. A file without
            the mark of a binary format is JSON if it starts with `{` or `[{`, and CSV otherwise. JSON is
            JSON Lines if its first line is an object and others follow.

    Raises:
        UnsupportedMediaType: The content contradicts `declared`, or its format is not supported.
    """
    name = _detect(path, declared)
    return "jsonl" if name == "json" and is_json_lines(path) else name


def _detect(path: Path, declared: Format | None) -> Format:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found, text = _detect_binary_format(head), head.removeprefix(codecs.BOM_UTF8)
    if found is None:
        refuse_unsupported(path, head)
    elif found == "npz":
        refuse_other_archives(path)
    if declared is None:
        return found or ("json" if _JSON.match(text) else "csv")
    if found is None and declared == "csv" and _JSON_ROWS.match(text):
        found = "json"
    if found == declared or (found is None and declared in _TEXT_FORMATS):
        return declared
    actual = f"the body is {NAMES[found]}" if found else "the content of the body is not"
    remedy = "Send the body's own type, or application/octet-stream to have it detected from the content."
    raise UnsupportedMediaType(f"Content-Type is that of {NAMES[declared]}, but {actual}. {remedy}")


def _detect_binary_format(head: bytes) -> Format | None:
    if head == b"PAR1":  # a Parquet file cut off after its mark
        return "parquet"
    # A safetensors header after 8 bytes that can't be text, although the length in them may be wrong.
    if head[8:10] == b'{"' and not {0, 0xFF}.isdisjoint(head[:8]):
        return "safetensors"
    return next((name for offset, magic, name in _MAGIC if head[offset:].startswith(magic)), None)


def is_table(name: Format) -> bool:
    """Return whether files of a format other than JSON are tables; others hold tensors."""
    return name in _TABLE_READERS


def open_file(
    path: Path,
    name: Format,
    options: ReadOptions,
    max_bytes: int,
    selected: Collection[str] | None = None,
    known: KnownWords = None,
) -> FileContent:
    """Open a file of a format other than JSON.

    Args:
        path: The file, decompressed, in a folder of its own, which readers may use.
        name: The format, from `detect_format`.
        options: How to read the file.
        max_bytes: Maximum size of the unpacked content.
        selected: Columns to read of a table; None: all. Other columns get null values and are not checked.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name.

    Raises:
        InvalidRequest: The file can't be read, or an option doesn't apply to the format.
        ContentTooLarge: The unpacked content is larger than `max_bytes`.
    """
    if known is None:  # those that a model keeps from its training data need not apply to this format
        check_options(name, options)
    if name in _TABLE_READERS:
        return _TABLE_READERS[name](path, options, selected, known)
    return _TENSOR_READERS[name](path, max_bytes)


def check_options(name: Format, options: ReadOptions) -> None:
    """Refuse options that don't apply to a format, rather than ignore them.

    Raises:
        InvalidRequest: With every such option.
    """
    unused = options.model_fields_set - _APPLICABLE_OPTIONS.get(name, set())
    if unused:
        detail = f"The body is {NAMES[name]}, to which this option does not apply; remove it."
        raise InvalidRequest(errors=[FieldError(f"?{option}", detail) for option in sorted(unused)])
