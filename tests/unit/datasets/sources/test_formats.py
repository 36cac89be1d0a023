"""Detection of formats, compressed files, and broken files."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ContentTooLarge, InvalidRequest, UnsupportedMediaType
from service.specs.upload import Format
from tests.support.field_errors import refusal
from tests.support.files import MAX_BYTES, as_arrow, as_npz, as_parquet, read

TABLE = pa.table({"n": [1, 2, None], "t": ["a", "b", None], "b": [True, None, False]})
CSV = b'n,t,b\n1,"a",true\n2,b,\n,,false\n'
ARRAYS = {"inputs": np.arange(6, dtype=np.float32).reshape(3, 2), "targets": np.array([0, 1, 2])}
FILES: dict[Format, bytes] = {
    "csv": CSV,
    "parquet": as_parquet(TABLE),
    "arrow": as_arrow(TABLE),
    "npz": as_npz(ARRAYS),
    "safetensors": safetensors.numpy.save(ARRAYS),
}
STREAM = as_arrow(TABLE, stream=True)


def zstd(content: bytes) -> bytes:
    """Compress content with Zstandard."""
    return bytes(pa.Codec("zstd").compress(content)) if content else b""


def rows_in(content: bytes, declared: Format | None = None) -> int:
    """Return the number of rows or samples in a file."""
    found = read(content, declared)
    return int(found.num_rows if isinstance(found, pa.Table) else found.rows)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd])
def test_formats_are_detected_from_the_content(name: Format, compress: Any) -> None:
    """A file without a declared format is read, compressed or not."""
    assert rows_in(compress(FILES[name])) == rows_in(compress(FILES[name]), name) == 3


def test_arrow_streams_are_detected() -> None:
    """The Arrow stream format is detected although it has no magic string."""
    assert rows_in(STREAM) == 3


@pytest.mark.parametrize("declared", [*FILES, "json"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_format_than_declared_is_refused(name: Format, declared: Format) -> None:
    """A Content-Type that contradicts the content is refused with a remedy."""
    if declared == name or (name, declared) == ("csv", "json"):
        return
    with pytest.raises(UnsupportedMediaType) as raised:
        read(FILES[name], declared)
    assert "application/octet-stream" in raised.value.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x93NUMPY\x01\x00", "single .npy array"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image"),
        (bz2.compress(CSV), "compressed in an unsupported way"),
        (lzma.compress(CSV), "compressed in an unsupported way"),
        (gzip.compress(gzip.compress(CSV)), "compressed once"),
        (b"<!DOCTYPE html>", "web page"),
    ],
    ids=["npy", "pickle", "hdf5", "pdf", "png", "bzip2", "xz", "gzip of gzip", "html"],
)
def test_unsupported_formats_are_named(content: bytes, words: str) -> None:
    """A file of a known but unsupported format is named in the error."""
    with pytest.raises(UnsupportedMediaType, match=words):
        read(content)


def test_an_excel_workbook_is_recognized(tmp_path: Path) -> None:
    """An Excel workbook, a zip archive like .npz, is refused with the advice to save it as CSV."""
    with ZipFile(tmp_path / "table.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UnsupportedMediaType, match="Excel workbook; save the sheet as CSV"):
        read((tmp_path / "table.xlsx").read_bytes())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAR1", "as Parquet"),
        (b"PAR1PAR1", "as Parquet"),
        ((10**6).to_bytes(8, "little") + b'{"inputs":', "as .safetensors"),
        (b"\xff" * 8 + b'{"inputs":', "as .safetensors"),
    ],
)
def test_broken_files_are_refused_as_the_format_of_their_mark(content: bytes, words: str) -> None:
    """A mark without a file, or a header with a wrong length, is not read as CSV."""
    assert words in refusal(lambda: read(content))["#"]


@pytest.mark.parametrize("name", ["PAR1", "ARROW1", "PK", "ORC", "Obj", "{"])
def test_a_csv_may_start_like_another_format(name: str) -> None:
    """A column name that equals the mark of another format does not change the format."""
    assert read(f"{name},b\n1,2\n".encode(), "csv").column_names == [name, "b"]
    assert name == "{" or rows_in(f"{name},b\n1,2\n".encode()) == 1


@pytest.mark.parametrize("name", ["parquet", "arrow", "npz", "safetensors"])
def test_options_that_do_not_apply_are_refused(name: Format) -> None:
    """Options of CSV files are errors for binary files, not ignored."""
    assert list(refusal(lambda: read(FILES[name], delimiter=";", header=False))) == ["?delimiter", "?header"]


def test_a_compression_bomb_is_refused() -> None:
    """Decompression stops at the size limit."""
    for compressed in (gzip.compress(bytes(MAX_BYTES + 1)), zstd(bytes(MAX_BYTES + 1))):
        with pytest.raises(ContentTooLarge):
            read(compressed)


@pytest.mark.parametrize("name", [name for name in FILES if name != "csv"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(name: Format, part: float) -> None:
    """A truncated file is an invalid request."""
    compressed = gzip.compress(FILES[name])
    with pytest.raises(InvalidRequest, match="can't be read as"):
        read(FILES[name][: int(part * len(FILES[name]))], name)
    with pytest.raises(InvalidRequest, match="can't be read as gzip"):
        read(compressed[: int(part * len(compressed))])


def test_a_small_file_that_asks_for_gigabytes_is_refused() -> None:
    """Wrong lengths in a stream are an invalid request or exceed the memory limit."""
    wrong_name_length = STREAM.replace(len(b"n").to_bytes(4, "little"), (2**32 - 8).to_bytes(4, "little"), 1)
    for content in (wrong_name_length, STREAM[:8] + (2**31 - 8).to_bytes(4, "little") + STREAM[12:]):
        with pytest.raises((InvalidRequest, MemoryError)):
            read(content)


@given(st.lists(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_text_survives_a_csv(cells: list[list[str]]) -> None:
    """Quoted cells of columns declared as text are read unchanged."""
    rows = ['"' + '","'.join(cell.replace('"', '""') for cell in row) + '"' for row in cells]
    content = "\n".join(["a,b", *rows]).encode(errors="replace")
    table = read(content, "csv", types={"a": "categorical", "b": "categorical"})
    expected = [[cell.encode(errors="replace").decode() for cell in row] for row in cells]
    assert [list(row.values()) for row in table.to_pylist()] == expected
