"""Files of formats that are not read are named, with what to send instead."""

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import orc

from service.errors import UnsupportedMediaType
from service.specs.upload import Format
from tests.support.files import read

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def zipped(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with ZipFile(sink, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
    return sink.getvalue()


def written(write: Any) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "xlsx": (
        zipped(**{"[Content_Types].xml": b"", "xl/workbook.xml": b""}),
        "an Excel workbook; save the sheet",
    ),
    "ods": (zipped(mimetype=b"", **{"content.xml": b""}), "an OpenDocument spreadsheet"),
    "docx": (zipped(**{"word/document.xml": b""}), "a Word document"),
    "images": (
        zipped(**{"cats/1.PNG": b"", "dogs/2.png": b""}),
        r"a zip archive of images \(`cats/1.PNG`, …\)",
    ),
    "csv in zip": (
        zipped(**{"a.csv": b"", "b.csv": b""}),
        r"a zip archive with `a.csv`, …; send the table itself",
    ),
    "torch": (zipped(**{"archive/data.pkl": b""}), "a pickle, which is never read"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "an old Excel workbook"),
    "orc": (
        written(lambda sink: orc.write_table(pa.Table.from_pandas(FRAME), sink)),
        "an ORC file; send Parquet",
    ),
    "tar": (tar(), "a tar archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
    "stata": (written(lambda sink: FRAME.to_stata(sink, version=118)), "a Stata file"),
    "old stata": (written(lambda sink: FRAME.to_stata(sink, version=114)), "a Stata file"),
    "sas": (bytes(12) + bytes.fromhex("c2ea8160b31411cfbd920800 09c7318c 181f1011"), "a SAS file"),
    "spss": (b"$FL2@(#) SPSS DATA FILE", "an SPSS file"),
    "rds": (b"X\n\0\0\0\3", "an R data file"),
    "fits": (b"SIMPLE  =                    T", "a FITS file"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
    "bmp": (b"BM" + struct.pack("<IIIIii", 70, 0, 54, 40, 2, 2), "an image"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "an image"),
    "arff": (b"% iris\n@RELATION iris\n", "an ARFF file"),
    **{
        f"pickle {protocol} of {type(value).__name__}": (pickle.dumps(value, protocol), "a pickle")
        for protocol in range(6)
        for value in (FRAME, np.arange(3.0), {"x": [1, 2]}, [1, 2])
    },
}


@pytest.mark.parametrize("declared", [None, "csv"])
@pytest.mark.parametrize("name", FILES)
def test_files_are_named(name: str, declared: Format | None) -> None:
    """The format is named, whatever the client says that it is."""
    content, words = FILES[name]
    with pytest.raises(UnsupportedMediaType, match=words):
        read(content, declared)


@pytest.mark.parametrize(
    "name", ["ORC", "BM", "RIFF", "ID3", "X", "A", "SIMPLE", "count", "clat", "(l", "$FL", "m"]
)
def test_a_csv_may_begin_like_another_file(name: str, tmp_path: Path) -> None:
    """Column names that equal the mark of a format do not change the format."""
    assert read(f"{name},b\n1,2\n".encode()).column_names == [name, "b"]
    assert read(f"{name}\n2\n3.\n".encode()).num_rows == 2
