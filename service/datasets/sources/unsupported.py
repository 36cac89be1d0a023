"""Recognition of unsupported formats, each with the format to send instead."""

import re
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from service.datasets.sources.compression import MAGIC
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.validation import quote_name
from service.errors import InvalidRequest, UnsupportedMediaType

HEAD_BYTES = 512
_PICKLE = "a pickle, which is never read; send a .npz archive or a .safetensors file"
_IMAGE = "an image; send its pixels as an array of a .npz archive"
_WORKBOOK = "save the sheet as CSV"
_STATISTICS = "export the table as CSV or Parquet"
_COMPRESSED = (
    "compressed in an unsupported way; send it uncompressed, or compressed once with gzip or Zstandard"
)
_ARCHIVE = "send the table itself, compressed with gzip or Zstandard, or arrays as a .npz archive"
_WEB_PAGE = "a web page; send the file itself"
# Start of a file, and what it is.
_STARTS: Sequence[tuple[bytes, str]] = (
    (b"\x93NUMPY", "a single .npy array; put it into a .npz archive, numpy.savez(file, inputs=…, targets=…)"),
    *((b"\x80%c" % protocol, _PICKLE) for protocol in range(2, 6)),
    (b"\x89HDF\r\n", "an HDF5 file; send Parquet, or a .npz archive"),
    (b"CDF\x01", "a NetCDF file; send Parquet, or a .npz archive"),
    (b"CDF\x02", "a NetCDF file; send Parquet, or a .npz archive"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file; send a .npz archive"),
    (b"SIMPLE  =", "a FITS file; send Parquet, or a .npz archive"),
    (b"\xd0\xcf\x11\xe0", f"an old Excel workbook (.xls); {_WORKBOOK}"),
    (b"%PDF", "a PDF; send the table as CSV"),
    (b"{\\rtf", "a text document (RTF); send the table as CSV"),
    (b"Obj\x01", "an Avro file; send Parquet"),
    (b"FEA1", "a Feather file of version 1; write version 2, which is Arrow IPC"),
    *((start, f"a Stata file; {_STATISTICS}") for start in (b"<stata_dta>",)),
    (
        bytes(12) + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\0\x09\xc7\x31\x8c",
        f"a SAS file; {_STATISTICS}",
    ),
    (b"HEADER RECORD*******LIB", f"a SAS transport file; {_STATISTICS}"),
    *((start, f"an SPSS file; {_STATISTICS}") for start in (b"$FL2", b"$FL3")),
    *(
        (start, f"an R data file; {_STATISTICS}")
        for start in (
            b"RDX2\n",
            b"RDX3\n",
            b"X\n\0\0\0",
        )
    ),
    *(
        (start, _IMAGE)
        for start in (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
    ),
    *((b"BZh%d1AY&SY" % level, _COMPRESSED) for level in range(1, 10)),
    *((start, _COMPRESSED) for start in (b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", *MAGIC.values())),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_ARCHIVE}"),
    (b"Rar!\x1a\x07", f"a RAR archive; {_ARCHIVE}"),
    (b"SQLite format 3\0", "a SQLite database; send the table as CSV"),
    *((start, _WEB_PAGE) for start in (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
    (b"<?xml", "XML; send the table as CSV"),
)
# Patterns of a start, where a constant would not do.
_PATTERNS: Sequence[tuple[re.Pattern[bytes], str]] = (
    (re.compile(rb"ORC.{0,64}?[\0-\x08\x0e-\x1f]", re.DOTALL), "an ORC file; send Parquet"),
    (re.compile(rb"[\x69\x6c-\x73][\x01\x02]\x01\0", re.DOTALL), f"a Stata file; {_STATISTICS}"),
    (re.compile(rb"RIFF....WEBP|BM....\0\0\0\0", re.DOTALL), _IMAGE),
    (
        re.compile(rb"RIFF....(WAVE|AVI )|OggS\0|ID3[\2-\4]\0|fLaC\0|\0\0..ftyp", re.DOTALL),
        "sound or video; send its samples in a .npz archive",
    ),
    (re.compile(rb".{257}ustar", re.DOTALL), f"a tar archive; {_ARCHIVE}"),
    (re.compile(rb"\s*(%[^\n]*\n\s*)*@relation\s", re.IGNORECASE), "an ARFF file; send the table as CSV"),
)
# The text of protocol 0 and the opcodes of protocol 1; a pickle ends with a full stop.
_OLD_PICKLE = re.compile(rb"\([ld]p\d+\n|c[\w.]+\n\w+\n(p\d+\n|q.|\()|[\]})]q\0", re.DOTALL)
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
# Start of the name of a member of a zip archive, and what the archive is.
_ZIP_MEMBERS: Sequence[tuple[str, str]] = (
    ("xl/", f"an Excel workbook; {_WORKBOOK}"),
    ("word/", "a Word document; send the table as CSV"),
    ("ppt/", "a presentation; send the table as CSV"),
    ("Index/", f"a spreadsheet; {_WORKBOOK}"),
    ("content.xml", f"an OpenDocument spreadsheet; {_WORKBOOK}"),
)


def refuse_unsupported(path: Path, head: bytes) -> None:
    """Raise an error that names the format of a file, if it is known but not read.

    Args:
        path: The file, decompressed.
        head: Its first `HEAD_BYTES` bytes.

    Raises:
        UnsupportedMediaType: The format is known but not read.
    """
    for start, description in _STARTS:
        if head.startswith(start):
            raise UnsupportedMediaType(f"The body is {description}.")
    for pattern, description in _PATTERNS:
        if pattern.match(head):
            raise UnsupportedMediaType(f"The body is {description}.")
    if _OLD_PICKLE.match(head) and _last_byte(path) == b".":
        raise UnsupportedMediaType(f"The body is {_PICKLE}.")


def refuse_other_archives(path: Path) -> None:
    """Raise an error that names the content of a zip archive, if it is known and not that of a .npz archive.

    Raises:
        UnsupportedMediaType: The archive is a document, a model or a folder of images or tables.
    """
    try:
        with refuse_unreadable(".npz"), ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except InvalidRequest:
        return  # reported where it is read
    for start, description in _ZIP_MEMBERS:
        if any(name.startswith(start) for name in names):
            raise UnsupportedMediaType(f"The body is {description}.")
    if any(name.endswith(("data.pkl", ".pkl", ".pickle")) for name in names):
        raise UnsupportedMediaType(f"The body is {_PICKLE}.")
    images = [name for name in names if name.lower().endswith(_IMAGE_SUFFIXES)]
    if images:
        arrays = "numpy.savez(file, inputs=pixels, targets=labels) with pixels [B, channels, height, width]"
        raise UnsupportedMediaType(
            f"The body is a zip archive of images ({quote_name(images[0])}, …); send {arrays}."
        )
    if names and not any(name.endswith(".npy") for name in names):
        found = f"a zip archive with {quote_name(names[0])}" + (", …" if len(names) > 1 else "")
        raise UnsupportedMediaType(f"The body is {found}; {_ARCHIVE}.")


def _last_byte(path: Path) -> bytes:
    content_bytes = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, content_bytes - 1))
        return file.read()
