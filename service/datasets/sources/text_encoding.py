"""Text files of any supported encoding, mapped as UTF-8."""

import codecs
import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from service.datasets.sources.csv_records import Text
from service.datasets.validation import ErrorCollector, quote_value
from service.specs.text_encodings import ENCODINGS, python_name
from service.specs.upload import ReadOptions

_CHUNK_BYTES = 2**20
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_READ_AS_UTF_8 = ("utf-8-sig", "ascii")
_HEAD_BYTES = 4096
# Almost every file is valid in these, so that a wrong one is not noticed.
_SINGLE_BYTE = {codecs.lookup(name).name for name in ENCODINGS if re.match("iso|cp(?!9)|mac|koi", name)}
_LETTERS = re.compile(r"\w{0,40}[^\x00-\x7f]\w{0,40}")  # unbounded, the search would be quadratic
_REMEDY = "set the file's encoding, e.g. `?encoding=windows-1252`."


class OpenText(NamedTuple):
    """A text file.

    Attributes:
        text: Its content in UTF-8, mapped. A byte order mark of UTF-8 is kept.
        warnings: What the client should know about its encoding.
    """

    text: Text
    warnings: Sequence[str] = ()


def open_text(path: Path, options: ReadOptions, errors: ErrorCollector) -> OpenText:
    """Map a text file as UTF-8.

    Args:
        path: The file, in a folder of its own. A file in another encoding is converted to a copy beside it.
        options: The encoding that the client declares; None: that of the byte order mark, or UTF-8. A file in
            UTF-8 may also be sent to a model whose training data had another encoding.
        errors: Errors found before; raised together with the one found here.

    Raises:
        InvalidRequest: The encoding is not supported, contradicts the byte order mark, or doesn't fit the
            content.
    """
    is_of_model = options.encoding is not None and "encoding" not in options.model_fields_set
    warnings = []
    if is_of_model and _in_utf8(path) is not None:
        name = "utf-8"
    else:
        name = _detect_encoding(path, options.encoding, errors, is_of_model)
        if name in _SINGLE_BYTE and (shown := _in_utf8(path)):
            warnings.append(
                f"The file is valid UTF-8, with texts such as {quote_value(shown)}, and is read as "
                f"{options.encoding}; if letters look wrong, leave out `encoding`."
            )
    if name != "utf-8":
        path = _convert_to_utf8(path, name, errors)
    if path.stat().st_size == 0:  # can't be mapped
        return OpenText(b"", warnings)
    with path.open("rb") as file:
        return OpenText(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), warnings)


def _in_utf8(path: Path) -> str | None:
    """Return the first text with other letters than ASCII of a file that is valid UTF-8.

    Returns:
        The text, empty if all letters are ASCII; None for a file in another encoding: not valid UTF-8, or
        with the character NUL, of which half of a text in UTF-16 consists.
    """
    decoder, found = codecs.getincrementaldecoder("utf-8")(), ""
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                return None
            if "\0" in text:
                return None
            if not found and not text.isascii() and (match := _LETTERS.search(text)):
                found = match[0]
            if not chunk:
                return found


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


def _detect_encoding(path: Path, declared: str | None, errors: ErrorCollector, is_of_model: bool) -> str:
    """Return Python's name of a file's encoding, from its byte order mark or the declared one."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if declared is None:
        if marked is None:
            _refuse_utf16(head, errors)
        return marked or "utf-8"
    try:
        name = python_name(declared)
    except ValueError as error:
        errors.fail("?encoding", str(error))
    if name in _READ_AS_UTF_8:
        name = "utf-8"
    if marked is not None and is_of_model:
        return marked
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
