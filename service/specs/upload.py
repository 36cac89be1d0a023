"""Uploaded files: format, compression and options for reading."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from service.specs.base import Integer, Spec
from service.specs.reading import CellOptions
from service.specs.transforms import MAX_COLUMNS

Format = Literal["csv", "parquet", "arrow", "npz", "safetensors", "json", "jsonl"]
IndexColumn = Literal["auto", "keep", "drop"]
SPACES: Final = "spaces"
"""The delimiter that is any number of spaces and tabs; those at the ends of a line don't count."""
DownloadFormat = Literal["csv", "parquet", "npz"]
Compression = Literal["gzip", "zstd"]

MEDIA_TYPES: Mapping[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
    "application/x-npz": "npz",
    "application/zip": "npz",
    "application/x-safetensors": "safetensors",
}
"""Formats by Content-Type."""

GENERIC_MEDIA_TYPES = {
    "",
    "application/octet-stream",
    "application/gzip",
    "application/x-gzip",
    "application/zstd",
    "application/vnd.ms-excel",  # sent by browsers for .csv files on machines with Excel
    # Refused by their content, which names what to send instead.
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.apache.orc",
    "application/x-tar",
    "application/x-7z-compressed",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "application/x-www-form-urlencoded",  # curl's default
    "text/plain",
}
"""Content types that do not determine the format; it is detected from the content."""


class ReadOptions(CellOptions):
    """Options for reading a table: how the file is divided into cells, and how the cells are read."""

    delimiter: str | None = None
    """For CSV: delimiter, one character, or `spaces` for any number of spaces and tabs; null: the most
    frequent of comma, semicolon, tab and bar in the first line, or `spaces`."""
    header: bool = True
    """For CSV: true if the first line contains the column names."""
    skip_lines: Integer = Field(default=0, ge=0)
    """For CSV: number of lines before the header, such as titles, comments and counts. Files for a
    model may have them or not: they are not skipped if the first line names a column that the model reads."""
    index: IndexColumn = "auto"
    """Treatment of an unnamed first column, or of pandas' `__index_level_0__`: `keep` reads it as `index`,
    `drop` leaves it out, and `auto` leaves it out if it consists of row numbers."""
    ignore: Annotated[list[str], Field(max_length=MAX_COLUMNS)] = []
    """Names of columns not to read; an unnamed third column is `column_3`."""
    encoding: str | None = None
    """For CSV: text encoding; null: UTF-8, or UTF-16 if a byte order mark says so."""

    def cell_options(self) -> CellOptions:
        """Return the options of cells that are set."""
        return CellOptions(**{name: getattr(self, name) for name in self.model_fields_set & _CELL_OPTIONS})


_CELL_OPTIONS = set(CellOptions.model_fields)


def upload_digest(content_sha256: str, options: ReadOptions) -> str:
    """Identify an upload by its bytes and the options for reading it.

    Args:
        content_sha256: SHA-256 of the bytes as sent, in hexadecimal.
        options: The options; those with default values don't count.

    Returns:
        `content_sha256` for default options, otherwise another hexadecimal digest.
    """
    changed = options.model_dump(exclude_defaults=True)
    if not changed:
        return content_sha256
    text = json.dumps([content_sha256, changed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Upload(Spec):
    """A request body that has been written to a folder of its own.

    Attributes:
        folder: Absolute path of the folder; the process that created it also removes it.
        format: Format declared by the client; None: detected from the content.
        compression: Compression declared by the client (Content-Encoding); None: detected from the content.
        options: Options for reading the file.
    """

    folder: str
    format: Format | None = None
    compression: Compression | None = None
    options: ReadOptions = ReadOptions()

    @property
    def body(self) -> Path:
        """Path of the file as it was sent."""
        return Path(self.folder) / "body"
