"""A text file as UTF-8, whatever its encoding, and mapped."""

import codecs
import mmap
from pathlib import Path
from typing import Final

from service.datasets.sources.csv_records import Text
from service.datasets.validation import ErrorCollector
from service.specs.base import did_you_mean

ENCODINGS: Final = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii", "cp437", "cp850", "mac-roman"),
    *(f"iso8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16)),
    *(f"cp{number}" for number in range(1250, 1259)),
    *("koi8-r", "koi8-u", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "gbk", "gb18030", "big5"),
)
"""Python's names of the encodings that are taken; their aliases (latin-1, windows-1252) are taken too."""

_CHUNK_BYTES = 2**20
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_AS_UTF_8 = {"utf-8-sig": "utf-8", "ascii": "utf-8"}
_HEAD_BYTES = 4096
_REMEDY = "name the file's encoding, e.g. `?encoding=windows-1252`."


def open_text(path: Path, encoding: str | None, errors: ErrorCollector) -> Text:
    """A text file's content in UTF-8, maybe with its byte order mark.

    Args:
        path: the file. One in another encoding is written anew beside it.
        encoding: as the client calls it; None: what a byte order mark says, else UTF-8.
        errors: raised with what was noted before.

    Raises:
        InvalidRequest: there is no such encoding, the file is in another, or the bytes are in none.
    """
    name = _encoding(path, encoding, errors)
    if name != "utf-8":
        path = _as_utf8(path, name, errors)
    if path.stat().st_size == 0:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_utf8(text: Text, start: int, end: int, line: int, errors: ErrorCollector) -> None:
    """Refuse a part of a text, from a line on, that is not UTF-8."""
    part = text[start:end]
    try:
        part.decode()
    except UnicodeDecodeError as error:
        line += part.count(b"\n", 0, error.start)
        found = f"found the byte 0x{part[error.start]:02x}"
        errors.fail("#", f"Line {line} is not UTF-8 ({found}): {_REMEDY}")


def _encoding(path: Path, declared: str | None, errors: ErrorCollector) -> str:
    """Python's name of a file's encoding: what its byte order mark says and what its sender says agree."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if declared is None:
        return marked or _unmarked(head, errors)
    name = _python_name(declared, errors)
    name = _AS_UTF_8.get(name, name)
    if name == "utf-16" and marked is None:
        order = "no mark tells the order of its bytes: say utf-16-le or utf-16-be"
        errors.fail("?encoding", f"The body is not `{declared}` with a byte order mark, and {order}.")
    if marked is not None and not marked.startswith(name):
        errors.fail("?encoding", f"The body begins with the mark of {marked}: leave the encoding out.")
    return marked or name


def _unmarked(head: bytes, errors: ErrorCollector) -> str:
    """UTF-8, unless half of the bytes are zero: then it is UTF-16, and which one can be said."""
    for name, low, high in (("utf-16-le", head[::2], head[1::2]), ("utf-16-be", head[1::2], head[::2])):
        if len(high) > 1 and high.count(0) > len(high) // 2 > low.count(0):
            errors.fail("?encoding", f"The body looks like UTF-16 without a mark: say {name}.")
    return "utf-8"


def _python_name(encoding: str, errors: ErrorCollector) -> str:
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name not in _NAMES:
        hint = did_you_mean(encoding, ENCODINGS) or ": utf-8, utf-16, latin-1, windows-1252, … are."
        errors.fail("?encoding", f"`{encoding}` is no encoding that is taken{hint}")
    return name


_NAMES = {codecs.lookup(name).name for name in ENCODINGS}


def _as_utf8(path: Path, name: str, errors: ErrorCollector) -> Path:
    decoder = codecs.getincrementaldecoder(name)()
    copy = path.with_name(f"{path.name}.utf8")
    line = 1
    with path.open("rb") as source, copy.open("wb") as target:
        while True:
            chunk = source.read(_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].decode(name, errors="replace").count("\n")
                found = f"found the byte 0x{error.object[error.start]:02x}"
                errors.fail("#", f"Line {line} is not {name} ({found}): {_REMEDY}")
            line += text.count("\n")
            target.write(text.encode())
            if not chunk:
                return copy
