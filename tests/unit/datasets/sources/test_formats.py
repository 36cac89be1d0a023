"""Formats told by how files begin, packed files, and files that lie."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ContentTooLarge, InvalidRequest, UnsupportedMediaType
from service.specs.upload import Format
from tests.support.field_errors import refusal
from tests.support.files import MOST_BYTES, as_arrow, as_npz, as_parquet, read

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
    """Content packed with Zstandard."""
    return bytes(pa.Codec("zstd").compress(content)) if content else b""


def rows_in(content: bytes, declared: Format | None = None) -> int:
    """How many rows or samples a file holds."""
    found = read(content, declared)
    return int(found.num_rows if isinstance(found, pa.Table) else found.rows)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd])
def test_formats_are_told_by_how_files_begin(name: Format, packed: Any) -> None:
    """A file that says nothing else of itself is read, packed or not."""
    assert rows_in(packed(FILES[name])) == rows_in(packed(FILES[name]), name) == 3


def test_a_stream_is_arrow_too() -> None:
    """The stream format has no magic word, and is found all the same."""
    assert rows_in(STREAM) == 3


@pytest.mark.parametrize("declared", [*FILES, "json"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_what_it_is_called_is_refused(name: Format, declared: Format) -> None:
    """Another Content-Type than the content's is told, with what the content is."""
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
        (bz2.compress(CSV), "packed in a way"),
        (lzma.compress(CSV), "packed in a way"),
        (gzip.compress(gzip.compress(CSV)), "packed once"),
        (b"<!DOCTYPE html>", "web page"),
    ],
)
def test_other_formats_are_named(content: bytes, words: str) -> None:
    """What people send by error is named, with what to send instead."""
    with pytest.raises(UnsupportedMediaType, match=words):
        read(content)


def test_an_excel_workbook_is_told(tmp_path: Path) -> None:
    """A workbook is a zip archive, and no .npz: CSV is what to save it as."""
    with ZipFile(tmp_path / "table.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UnsupportedMediaType, match="Excel workbook: save the sheet as CSV"):
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
def test_files_that_begin_well_and_lie_are_refused_as_what_they_say(content: bytes, words: str) -> None:
    """A mark without a file, or a header's length that isn't true, is not taken for a CSV."""
    assert words in refusal(lambda: read(content))["#"]


@pytest.mark.parametrize("name", ["PAR1", "ARROW1", "PK", "ORC", "Obj", "{"])
def test_a_csv_may_begin_like_another_format(name: str) -> None:
    """A column's name doesn't make a table a Parquet or Arrow file."""
    assert read(f"{name},b\n1,2\n".encode(), "csv").column_names == [name, "b"]
    assert name == "{" or rows_in(f"{name},b\n1,2\n".encode()) == 1


@pytest.mark.parametrize("name", ["parquet", "arrow", "npz", "safetensors"])
def test_options_that_do_not_apply_are_refused(name: Format) -> None:
    """An option must not be ignored: binary files have no delimiter."""
    assert list(refusal(lambda: read(FILES[name], delimiter=";", header=False))) == ["?delimiter", "?header"]


def test_a_packed_bomb_is_refused() -> None:
    """Unpacking ends where more comes than is taken."""
    for packed in (gzip.compress(bytes(MOST_BYTES + 1)), zstd(bytes(MOST_BYTES + 1))):
        with pytest.raises(ContentTooLarge):
            read(packed)


@pytest.mark.parametrize("name", [name for name in FILES if name != "csv"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(name: Format, part: float) -> None:
    """A file that was cut off is an invalid request."""
    packed = gzip.compress(FILES[name])
    with pytest.raises(InvalidRequest, match="can't be read as"):
        read(FILES[name][: int(part * len(FILES[name]))], name)
    with pytest.raises(InvalidRequest, match="can't be read as gzip"):
        read(packed[: int(part * len(packed))])


def test_a_small_file_that_asks_for_gigabytes_is_refused() -> None:
    """Lengths that a stream states are held against what is there."""
    lie = STREAM.replace(len(b"n").to_bytes(4, "little"), (2**32 - 8).to_bytes(4, "little"), 1)
    for content in (lie, STREAM[:8] + (2**31 - 8).to_bytes(4, "little") + STREAM[12:]):
        with pytest.raises((InvalidRequest, MemoryError)):
            read(content)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes changed, cut out or put in."""
    content = bytearray(draw(st.sampled_from([*FILES.values(), STREAM, gzip.compress(CSV)])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["change", "change", "cut", "insert"]))
        if kind == "change":
            content[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del content[place : place + draw(st.integers(1, 40))]
        else:
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutated_files_are_read_or_refused(content: bytes) -> None:
    """Whatever is changed in a file, it is read or refused with one of the documented errors."""
    try:
        rows = rows_in(content)
    except (InvalidRequest, UnsupportedMediaType, ContentTooLarge, MemoryError):
        return
    assert rows > 0


@given(st.lists(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_text_survives_a_csv(cells: list[list[str]]) -> None:
    """What is quoted comes out as it went in, when it is declared to be text."""
    rows = ['"' + '","'.join(cell.replace('"', '""') for cell in row) + '"' for row in cells]
    content = "\n".join(["a,b", *rows]).encode(errors="replace")
    table = read(content, "csv", types={"a": "categorical", "b": "categorical"})
    expected = [[cell.encode(errors="replace").decode() for cell in row] for row in cells]
    assert [list(row.values()) for row in table.to_pylist()] == expected
