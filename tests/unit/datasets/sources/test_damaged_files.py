"""Files that lie about their content: whatever a parser makes of them, the client learns it in an error."""

import gzip
import io
import re
import struct
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets.write_dataset import write_dataset
from service.errors import FitserveError, InvalidRequest
from service.helper.request_bodies import JsonTable, open_upload, read_content
from service.settings import Settings
from service.specs.upload import ReadOptions, Upload
from tests.support.field_errors import refusal
from tests.support.files import MAX_BYTES, as_arrow, as_npz, as_parquet, read

LIMITS = Settings(max_dataset_bytes=MAX_BYTES)
TABLE = pa.table(
    {
        "n": [1, 2, None],
        "t": ["a", "ä", None],
        "b": [True, None, False],
        "d": pa.array([Decimal("1.25"), None, Decimal("-2")]),
        "w": pa.array([datetime(2024, 1, 5, tzinfo=UTC), None, None], pa.timestamp("ns", "Europe/Berlin")),
        "k": pa.array(["x", "y", "x"]).dictionary_encode(),
        "u": pa.array([1, 2, 2**64 - 1], pa.uint64()),
    }
)
FRAME = pa.Table.from_pandas(
    pd.DataFrame({"k": pd.Categorical([3, 1, 3], [1, 3], ordered=True), "x": [1, 2, 3]}, index=[4, 5, 9])
)
ARRAYS = {"inputs": np.arange(6, dtype=np.float32).reshape(3, 2), "targets": np.array([0, 1, 2])}
CSV = 'n;t;w\n1,5;"ä";2024-01-05\n;b;2024-01-06T10:00:00Z\n'
FILES: Mapping[str, bytes] = {
    "csv": CSV.encode(),
    "utf-16": CSV.encode("utf-16"),
    "spaces": b" a  b\n 1  x\n22  y\n",
    "parquet": as_parquet(TABLE),
    "packed parquet": as_parquet(TABLE, compression="zstd"),
    "parquet of pandas": as_parquet(FRAME),
    "arrow": as_arrow(TABLE),
    "packed arrow": as_arrow(FRAME, compression="zstd"),
    "stream": as_arrow(TABLE, stream=True),
    "npz": as_npz(ARRAYS),
    "packed npz": as_npz(ARRAYS, compressed=True),
    "safetensors": safetensors.numpy.save(ARRAYS),
    "columns": b'{"columns":{"a":[1,2,null],"b":["x","2024-01-05",null]},"name":"x"}',
    "rows": '[{"a":1,"b":"ä"},{"a":null,"b":"y"}]'.encode(),
    "lines": b'{"a":1,"b":"x"}\n\n{"a":2.5,"b":"y"}\n',
    "split": b'{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[3,"x"]]}}',
    "tensors": b'{"inputs":[[1,2],[3,4]],"targets":[0,1],"weights":[1,2]}',
}
PACK = {
    "not": bytes,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": lambda content: bytes(pa.Codec("zstd").compress(content)) if content else b"",
}
# What no message may contain: addresses, and names of Python's objects and errors.
FOREIGN = re.compile(r"0x[0-9a-f]{6}|<class|<built-in|NoneType|Traceback")
LONGEST_CHARACTERS = 1000

NPY = "{'descr':'<f4','fortran_order':False,'shape':(4,1)}"
SAFETENSORS = b'{"inputs":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'


def refusal_of(content: bytes) -> FitserveError | None:
    """Read a file as an upload is read, store and describe it; return the error if it is refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "body").write_bytes(content)
        try:
            source = open_upload(Upload(folder=name), LIMITS)
            if isinstance(source, JsonTable):
                source, _ = read_content(source, ReadOptions())
            write_dataset(source, folder / "dataset", MAX_BYTES)
        except FitserveError as error:
            return error
        except MemoryError:  # becomes `limit-exceeded`
            return None
    return None


def check(content: bytes) -> None:
    """Check that a file is stored, or refused with a short sentence of a 4xx."""
    error = refusal_of(content)
    if error is None:
        return
    assert 400 <= error.status < 500
    for text in (error.detail, *(each.detail for each in error.errors)):
        assert not FOREIGN.search(text), text
        assert len(text) <= LONGEST_CHARACTERS, text


def npy(header: str) -> bytes:
    """Return an array of numpy's format with a header of any text."""
    text = header.encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) % 2**16) + text + bytes(16)


def npz(header: str | bytes, compression: int = ZIP_STORED) -> bytes:
    """Return an archive of two arrays: the first with a header of any text, or any bytes; a valid one."""
    sink = io.BytesIO()
    with ZipFile(sink, "w", compression) as archive:
        archive.writestr("inputs.npy", npy(header) if isinstance(header, str) else header)
        archive.writestr("targets.npy", npy(NPY))
    return sink.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        NPY[:-1],
        NPY.replace("(4,1)", "(4,"),
        NPY.replace("(4,1)", "__import__('os').getcwd()"),
        NPY.replace("<f4", "x" * 5000),
        NPY.replace("(4,1)", "(10**30,)"),
        NPY.replace("'<f4'", "'|O'"),
        "'''",
        "\\",
        "",
    ],
    ids=["open", "open tuple", "call", "long", "power", "objects", "text", "backslash", "empty"],
)
def test_a_header_of_an_array_that_cannot_be_read_is_refused_in_a_short_sentence(header: str) -> None:
    """The error names the array; it shows neither objects of the parser nor the header."""
    found = refusal(lambda: read(npz(header)))
    assert list(found) == ["#/inputs"]
    assert found["#/inputs"] == (
        "The file can't be read as an array of numbers (`inputs`; objects are pickles, which are never read)."
    )


def declared(version: int, shape: str, header_bytes: int | None = None) -> bytes:
    """Return an array [4, 1] that declares a shape and, unless it is None, the length of its header."""
    text = NPY.replace("(4,1)", shape).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text) if header_bytes is None else header_bytes)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + bytes(16)


@pytest.mark.parametrize(
    ("content", "details"),
    [
        (declared(1, "(4,1)", 2**16 - 1), "a header of 65,535 bytes, but only 68 bytes follow"),
        (declared(2, "(4,1)", 2**32 - 1), "a header of 4,294,967,295 bytes, but only 68 bytes follow"),
        (declared(3, "(4,1)", 2**32 - 1), "a header of 4,294,967,295 bytes, but only 68 bytes follow"),
        (declared(1, "(5,1)"), "the shape [5, 1] of float32, 20 bytes, but only 16 bytes follow"),
        (declared(2, f"({2**30},1)"), "4,294,967,296 bytes, but only 16"),
        (declared(3, f"({2**40},{2**40})"), "4,835,703,278,458,516,698,824,704 bytes, but only 16"),
        (declared(3, f"({2**31},{2**31})"), "18,446,744,073,709,551,616 bytes, but only 16"),
    ],
)
def test_an_array_that_declares_more_than_it_has_is_refused_with_both_numbers(
    content: bytes, details: str
) -> None:
    """Nothing of the declared size is allocated, whatever the version of the format."""
    found = refusal(lambda: read(npz(content)))["#/inputs"]
    assert found.startswith("`inputs` declares ")
    assert details in found
    assert read(npz(declared(3, "(4,1)"))).rows == 4


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_part_that_declares_more_bytes_than_the_memory_is_named(stream: bool, compression: str) -> None:
    """The length of a compressed buffer is before it; Arrow allocates it first."""
    content = as_arrow(pa.table({"a": [1.5] * 1000}), compression=compression, stream=stream)
    lie = content.replace(struct.pack("<q", 8000), struct.pack("<q", 2**62))
    found = refusal(lambda: read(lie))["#"]
    assert "it declares a part of 4,611,686,018,427,387,904 bytes" in found
    assert "row groups or record batches" in found


def test_a_window_beyond_the_limit_of_zstandard_has_a_remedy() -> None:
    """It is the compression level `--long` or `--ultra` that needs such a window."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b0000_0000, 0b1111_1000, 1, 0, 0])
    with pytest.raises(InvalidRequest, match="compress it without `--long`"):
        read(frame)


@pytest.mark.parametrize(
    "content", [b"x" * 100_000 + b",y\n1\n", as_arrow(pa.table({"x" * 100_000: [b"a"]}))]
)
def test_long_names_are_cut_in_messages(content: bytes) -> None:
    """A refusal of a file with long names is short, pointers included."""
    with pytest.raises(InvalidRequest) as raised:
        read(content)
    assert len(str(raised.value.document("/"))) < 10_000


@pytest.mark.parametrize(
    "metadata",
    [b"[]", b"{", b'{"columns": [1]}', b'{"columns": [{"name": [], "pandas_type": "categorical"}]}'],
)
def test_broken_metadata_of_pandas_is_refused(metadata: bytes) -> None:
    """What a library wrote about a table is checked like its rows."""
    table = pa.table({"a": [1]}).replace_schema_metadata({"pandas": metadata})
    assert "can't be read as Parquet" in refusal(lambda: read(as_parquet(table)))["#"]


SIGNS = ["(", ")", "[", "]", "{", "}", "'", '"', "'''", "\\", "\n", "-", "", "x", "é", "0x", "1e9", "9" * 30]
TEXTS = st.sampled_from([*SIGNS, "None", "lambda:0", "__import__('os')", "x" * 3000])


@st.composite
def edited(draw: st.DrawFn, header: str) -> str:
    """Draw a header with some parts replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(header)))
        header = header[:start] + draw(TEXTS) + header[start + draw(st.integers(0, 12)) :]
    return header


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a valid file with some bytes changed, removed, repeated or inserted, before or after packing."""
    content = bytearray(draw(st.sampled_from([*FILES.values()])))
    pack = draw(st.sampled_from([*PACK.values()]))
    if pack_first := draw(st.booleans()):
        content = bytearray(pack(bytes(content)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["byte", "bit", "length", "remove", "insert", "repeat", "cut"]))
        if kind == "byte":
            content[start : start + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "bit" and start < len(content):
            content[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "length":
            length = draw(st.sampled_from([0, 1, 2**16, 2**24, 2**31 - 1, 2**32 - 1]))
            content[start : start + 4] = struct.pack("<I", length)
        elif kind == "remove":
            del content[start : start + draw(st.integers(1, 40))]
        elif kind == "insert":
            content[start:start] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "repeat":
            content[start:start] = content[start : start + draw(st.integers(1, 40))]
        else:
            del content[max(start, 1) :]
    return bytes(content) if pack_first else pack(bytes(content))


def tensors(header: str) -> bytes:
    """Return a safetensors file with a header of any text."""
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


HOSTILE = st.one_of(
    damaged(),
    damaged(),
    st.builds(npz, edited(NPY), st.sampled_from([ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])),
    edited(SAFETENSORS.decode()).map(tensors),
    edited(FILES["columns"].decode()).map(str.encode),
)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_damaged_file_is_read_or_refused(content: bytes) -> None:
    """Each is stored, or refused with a short sentence of a 4xx."""
    check(content)


@pytest.mark.exhaustive
@settings(max_examples=20_000, deadline=None)
@given(HOSTILE)
def test_many_damaged_files_are_read_or_refused(content: bytes) -> None:
    """The same, with more files."""
    check(content)
