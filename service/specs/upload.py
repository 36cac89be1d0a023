"""What a client may say about a file it sends: its format, and how to read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from service.specs.base import Spec
from service.specs.data import ColumnTypes

Format = Literal["csv", "parquet", "arrow", "npz", "safetensors", "json"]
Packing = Literal["gzip", "zstd"]

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
"""What a Content-Type says about the format."""

GENERIC_MEDIA_TYPES = {
    "",
    "application/octet-stream",
    "application/vnd.ms-excel",  # what browsers call a .csv on a machine with Excel
    "application/x-www-form-urlencoded",  # what curl says when it isn't told
    "text/plain",
}
"""Say nothing: the format is told by the content."""


class ReadOptions(Spec):
    """How to read a file, where its content doesn't say it by itself."""

    delimiter: str | None = None
    """Of a CSV; None: the one that divides the first line most."""
    header: bool = True
    """Of a CSV: whether its first line names the columns."""
    encoding: str | None = None
    """Of a CSV; None: UTF-8, or UTF-16 by its byte order mark."""
    missing: list[str] = []
    """Of a CSV: cells that mean a missing value, beside the usual ones."""
    types: ColumnTypes = {}
    """Column name → its type, where it isn't to be inferred."""


class Upload(Spec):
    """A body that was written to a folder of its own.

    Attributes:
        folder: absolute path; whoever made it removes it with all that is in it.
        format: as the client says; None: told by the content.
        packing: as the client says (Content-Encoding); None: told by the content.
    """

    folder: str
    format: Format | None = None
    packing: Packing | None = None
    options: ReadOptions = ReadOptions()

    @property
    def body(self) -> Path:
        """The file as it was sent."""
        return Path(self.folder) / "body"
