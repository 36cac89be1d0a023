"""The formats of files: how each begins, who reads it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from service.datasets.dataset import Batches, TensorDataset
from service.datasets.sources.arrow import read_arrow
from service.datasets.sources.compression import MAGIC
from service.datasets.sources.csv import CsvTable
from service.datasets.sources.npz import read_npz
from service.datasets.sources.parquet import read_parquet
from service.datasets.sources.safetensors import read_safetensors
from service.errors import FieldError, InvalidRequest, UnsupportedMediaType
from service.specs.upload import Format, ReadOptions

T = TypeVar("T")


class TableSource(Protocol):
    """Rows that can be read from the first on, as often as needed."""

    def read(self, consume: Callable[[Batches], T]) -> T:
        """What `consume` makes of the rows, batches of one schema; of several calls the last one counts."""


Source = TableSource | TensorDataset

NAMES: Mapping[Format, str] = {
    "csv": "CSV",
    "parquet": "Parquet",
    "arrow": "Arrow IPC",
    "npz": "a .npz archive",
    "safetensors": "a .safetensors file",
    "json": "JSON",
}
_TEXTS: set[Format] = {"csv", "json"}

_TABLES: Mapping[Format, Callable[[Path, ReadOptions, Collection[str] | None], TableSource]] = {
    "csv": CsvTable,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
_TENSORS: Mapping[Format, Callable[[Path, int], TensorDataset]] = {
    "npz": read_npz,
    "safetensors": lambda path, most_bytes: read_safetensors(path),
}

# How a file begins, after so many bytes.
_BEGINNINGS: Sequence[tuple[int, bytes, Format]] = (
    (0, b"PAR1\x15", "parquet"),  # a CSV may begin with a column called PAR1
    (0, b"PAR1PAR1", "parquet"),
    (0, b"ARROW1\0\0", "arrow"),
    (0, b"\xff\xff\xff\xff", "arrow"),
    (0, b"PK\x03\x04", "npz"),
    (0, b"PK\x05\x06", "npz"),
    (4, b"\0\0\0\0{", "safetensors"),  # the header's length, which is not that large, and the header
)
_PICKLE = "a pickle, which is never read: send a .npz archive or a .safetensors file"
_IMAGE = "an image: send its pixels as an array of a .npz archive"
_PACKED = "packed in a way that isn't taken: send it unpacked, or packed once with gzip or Zstandard"
_WEB_PAGE = "a web page: send the file itself"
_REFUSED: Sequence[tuple[bytes, str]] = (
    (b"\x93NUMPY", "a single .npy array: put it into a .npz archive, numpy.savez(file, inputs=…, targets=…)"),
    *((b"\x80%c" % protocol, _PICKLE) for protocol in range(2, 6)),
    (b"\x89HDF\r\n", "an HDF5 file: send Parquet, or a .npz archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file: save it as CSV"),
    (b"%PDF", "a PDF: send the table as CSV"),
    (b"Obj\x01", "an Avro file: send Parquet"),
    *((beginning, _IMAGE) for beginning in (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")),
    *((b"BZh%d1AY&SY" % level, _PACKED) for level in range(1, 10)),
    *((beginning, _PACKED) for beginning in (b"\xfd7zXZ\0", b"7z\xbc\xaf", *MAGIC.values())),
    (b"SQLite format 3\0", "a SQLite database: send the table as CSV"),
    *((beginning, _WEB_PAGE) for beginning in (b"<!DOCTYPE", b"<!doctype", b"<html")),
)
_HEAD_BYTES = 64
_APPLICABLE: Mapping[Format, set[str]] = {
    "csv": {"delimiter", "header", "encoding", "missing", "types"},
    "parquet": {"types"},
    "arrow": {"types"},
}


def tell_format(path: Path, declared: Format | None) -> Format:
    """The format of a file.

    Args:
        path: an unpacked file.
        declared: what the client says; None: the content tells it, and what is no other format is CSV.

    Raises:
        UnsupportedMediaType: the content is not what the client says, or of a format that isn't taken.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    found = _told_by_content(head)
    for beginning, what in _REFUSED if found is None else ():
        if head.startswith(beginning):
            raise UnsupportedMediaType(f"The body is {what}.")
    if declared is None:
        return found or ("json" if head.lstrip()[:1] == b"{" else "csv")
    if found == declared or (found is None and declared in _TEXTS):
        return declared
    seems = f"the body is {NAMES[found]}" if found else "the body doesn't begin as such a one does"
    remedy = "Name the body's own type, or application/octet-stream to have it told by the content."
    raise UnsupportedMediaType(f"Content-Type says {NAMES[declared]}, and {seems}. {remedy}")


def _told_by_content(head: bytes) -> Format | None:
    if head == b"PAR1":  # nothing but the mark
        return "parquet"
    if head[8:10] == b'{"' and not {0, 0xFF}.isdisjoint(head[:8]):  # a header, after a length that may lie
        return "safetensors"
    return next(
        (name for offset, beginning, name in _BEGINNINGS if head[offset:].startswith(beginning)), None
    )


def open_source(
    path: Path, name: Format, options: ReadOptions, most_bytes: int, taken: Collection[str] | None = None
) -> Source:
    """What is in a file of a format other than JSON.

    Args:
        path: the file; it lies in a folder of its own, which readers may use.
        name: from `tell_format`.
        options: how to read it.
        most_bytes: of what is in it, unpacked.
        taken: the columns of a table that matter; None: all. Others are there without a value.

    Raises:
        InvalidRequest: it can't be read, or an option is given that doesn't apply to the format.
        ContentTooLarge: there is more in it.
    """
    check_options(name, options)
    if name in _TABLES:
        return _TABLES[name](path, options, taken)
    return _TENSORS[name](path, most_bytes)


def check_options(name: Format, options: ReadOptions) -> None:
    """Refuse options that don't apply to a format: they must not be ignored."""
    unused = options.model_fields_set - _APPLICABLE.get(name, set())
    if unused:
        detail = f"The body is {NAMES[name]}, which is read without this option."
        raise InvalidRequest(errors=[FieldError(f"?{option}", detail) for option in sorted(unused)])
