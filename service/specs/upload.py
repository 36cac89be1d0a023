"""Uploaded files: format, compression and options for reading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from service.specs.base import Spec
from service.specs.reading import CellOptions

Format = Literal["csv", "parquet", "arrow", "npz", "safetensors", "json"]
Compression = Literal["gzip", "zstd"]

MEDIA_TYPES: Mapping[str, Format] = {
    "application/json": "json",
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
    "application/vnd.ms-excel",  # sent by browsers for .csv files on machines with Excel
    "application/x-www-form-urlencoded",  # curl's default
    "text/plain",
}
"""Content types that do not determine the format; it is detected from the content."""


class ReadOptions(CellOptions):
    """Options for reading a table: how the file is divided into cells, and how the cells are read."""

    delimiter: str | None = None
    """For CSV: delimiter; null: the most frequent of comma, semicolon, tab and bar in the first line."""
    header: bool = True
    """For CSV: true if the first line contains the column names."""
    encoding: str | None = None
    """For CSV: text encoding; null: UTF-8, or UTF-16 if a byte order mark says so."""

    def cell_options(self) -> CellOptions:
        """Return the options of cells that are set."""
        return CellOptions(**{name: getattr(self, name) for name in self.model_fields_set & _CELL_OPTIONS})


_CELL_OPTIONS = set(CellOptions.model_fields)


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
