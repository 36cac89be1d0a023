"""Text files of any supported encoding, mapped as UTF-8."""

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
"""Python's names of the supported encodings; Python's aliases (latin-1, windows-1252) are accepted, too."""

_PYTHON_NAMES = {codecs.lookup(name).name for name in ENCODINGS}
_CHUNK_BYTES = 2**20
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_READ_AS_UTF_8 = ("utf-8-sig", "ascii")
_HEAD_BYTES = 4096
_REMEDY = "set the file's encoding, e.g. `?encoding=windows-1252`."


def open_text(path: Path, encoding: str | None, errors: ErrorCollector) -> Text:
    """Map a text file as UTF-8. A byte order mark of UTF-8 is kept.

    Args:
        path: The file, in a folder of its own. A file in another encoding is converted to a copy beside it.
        encoding: The encoding that the client declares; None: that of the byte order mark, or UTF-8.
        errors: Errors found before; raised together with the one found here.

    Raises:
        InvalidRequest: The encoding is not supported, contradicts the byte order mark, or doesn't fit the
            content.
    """
    name = _detect_encoding(path, encoding, errors)
    if name != "utf-8":
        path = _convert_to_utf8(path, name, errors)
    if path.stat().st_size == 0:  # can't be mapped
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_utf8(text: Text, start: int, end: int, line: int, errors: ErrorCollector) -> None:
    """Check that a part of a text is valid UTF-8.

    Args:
        text: The text.
        start: Offset of the part.
        end: Offset after the part.
        line: Number of the line at `start`.
        errors: Errors found before; raised together with the one found here.

    Raises:
        InvalidRequest: The part is not valid UTF-8.
    """
    part = text[start:end]
    try:
        part.decode()
    except UnicodeDecodeError as error:
        line += part.count(b"\n", 0, error.start)
        found = f"found the byte 0x{part[error.start]:02x}"
        errors.fail("#", f"Line {line} is not UTF-8 ({found}); {_REMEDY}")


def _detect_encoding(path: Path, declared: str | None, errors: ErrorCollector) -> str:
    """Return Python's name of a file's encoding, from its byte order mark or the declared one."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if declared is None:
        if marked is None:
            _refuse_utf16(head, errors)
        return marked or "utf-8"
    name = _python_name(declared, errors)
    if name in _READ_AS_UTF_8:
        name = "utf-8"
    if name == "utf-16" and marked is None:
        remedy = "set `utf-16-le` or `utf-16-be`"
        errors.fail("?encoding", f"The body is not `{declared}` with a byte order mark; {remedy}.")
    if marked is not None and not marked.startswith(name):
        errors.fail("?encoding", f"The body starts with the byte order mark of {marked}; omit the encoding.")
    return marked or name


def _refuse_utf16(head: bytes, errors: ErrorCollector) -> None:
    """Fail if a text without byte order mark looks like UTF-16: most characters have a zero high byte."""
    for name, low, high in (("utf-16-le", head[::2], head[1::2]), ("utf-16-be", head[1::2], head[::2])):
        if len(high) > 1 and high.count(0) > len(high) // 2 > low.count(0):
            errors.fail("?encoding", f"The body looks like UTF-16 without a byte order mark; set `{name}`.")


def _python_name(encoding: str, errors: ErrorCollector) -> str:
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name not in _PYTHON_NAMES:
        hint = did_you_mean(encoding, ENCODINGS) or "; use for instance utf-8, utf-16, latin-1, windows-1252."
        errors.fail("?encoding", f"`{encoding}` is not a supported encoding{hint}")
    return name


def _convert_to_utf8(path: Path, name: str, errors: ErrorCollector) -> Path:
    decoder = codecs.getincrementaldecoder(name)()
    copy = path.with_name(f"{path.name}.utf8")
    line = 1
    with path.open("rb") as source, copy.open("wb") as target:
        while True:
            chunk = source.read(_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # `error.object` is the chunk after the bytes that the decoder had kept from the last one.
                line += error.object[: error.start].decode(name, errors="replace").count("\n")
                found = f"found the byte 0x{error.object[error.start]:02x}"
                errors.fail("#", f"Line {line} is not {name} ({found}); {_REMEDY}")
            line += text.count("\n")
            target.write(text.encode())
            if not chunk:
                return copy
