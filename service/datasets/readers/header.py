"""The first record of a CSV: its delimiter, the columns' names, where the rows begin."""

import codecs
import csv
import io
from collections.abc import Sequence
from typing import Final, NamedTuple

from service.datasets.columns import check_name
from service.datasets.mistakes import Mistakes
from service.datasets.readers.records import Text
from service.datasets.readers.text import check_utf8
from service.errors import pointer_to

MOST_COLUMNS: Final = 10_000
LONGEST_HEADER_BYTES: Final = 4 * 2**20
_DELIMITERS = ",;\t|"


class Header(NamedTuple):
    """What the first record says.

    Attributes:
        names: of the columns, all different.
        delimiter: one ASCII character.
        start: the offset of the first row.
    """

    names: list[str]
    delimiter: str
    start: int


class _Record(NamedTuple):
    cells: list[str]
    delimiter: str
    line: int
    end: int


def read_header(text: Text, delimiter: str | None, has_names: bool, mistakes: Mistakes) -> Header:
    """Read the first record that is not empty.

    Args:
        text: the whole file, in UTF-8.
        delimiter: None: the one of comma, semicolon, tab and bar that divides the record most.
        has_names: whether the record names the columns; else they are `column_1`, `column_2`, …
        mistakes: raised with what was noted before.

    Raises:
        InvalidRequest: there is no record, or its names can't be the columns'.
    """
    begin = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    record = _first_record(text, begin, delimiter or _DELIMITERS, mistakes)
    if len(record.cells) > MOST_COLUMNS:
        found = f"{len(record.cells)} columns; at most {MOST_COLUMNS} are taken"
        mistakes.fail("#", f"Line {record.line} has {found}.")
    if not has_names:
        return Header([f"column_{n}" for n in range(1, len(record.cells) + 1)], record.delimiter, begin)
    names = [name.strip() for name in record.cells]
    check_names(names, f"Line {record.line}: ", mistakes)
    mistakes.check()
    return Header(names, record.delimiter, record.end)


def check_names(names: Sequence[str], where: str, mistakes: Mistakes) -> None:
    """Note names that can't be those of columns: empty or too long ones, and two that are the same."""
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            mistakes.add("#", f"{where}column {number} has no name.")
        elif name in first:
            mistakes.add("#", f"{where}columns {first[name]} and {number} are both called `{name}`.")
        else:
            first[name] = number
            check_name(name, pointer_to("#/columns", name), mistakes)


def _first_record(text: Text, begin: int, delimiters: str, mistakes: Mistakes) -> _Record:
    """The first record that is not empty, divided by the delimiter that divides it most."""
    head = text[begin : begin + LONGEST_HEADER_BYTES]
    if len(head) == LONGEST_HEADER_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
        if not head:
            mistakes.fail("#", f"The first line is longer than {LONGEST_HEADER_BYTES // 2**20} MiB.")
    check_utf8(head, 0, len(head), 1, mistakes)
    lines = head.decode()
    if not lines.strip("\r\n"):
        mistakes.fail("#", "The file is empty: send a line with the columns' names, and rows below it.")
    records = [record for each in delimiters if (record := _divided(lines, begin, each))]
    if not records:
        mistakes.fail("#", "The first line can't be read: a name has more than 131072 characters.")
    return max(records, key=lambda record: len(record.cells))


def _divided(lines: str, begin: int, delimiter: str) -> _Record | None:
    """The first record that is not empty; None where a cell is longer than Python's reader takes."""
    source = io.StringIO(lines, newline="")
    reader = csv.reader(source, delimiter=delimiter)
    try:
        cells = next(record for record in reader if record)
    except csv.Error:
        return None
    end = begin + len(lines[: source.tell()].encode())
    return _Record(cells, delimiter, reader.line_num, end)
