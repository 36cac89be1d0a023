"""The first record of a CSV: its delimiter, the columns' names, where the rows begin."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from service.datasets.sources.columns import MOST_COLUMNS, check_name
from service.datasets.sources.csv_records import Text
from service.datasets.sources.text_encoding import check_utf8
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to

LONGEST_HEADER_BYTES: Final = 4 * 2**20
_DELIMITERS = ",;\t|"
_SAID_BY_EXCEL = re.compile(rb"sep=([!-~\t])\r?\n")
_CURL = "curl's `-d` leaves line ends out, `--data-binary` sends the file as it is."


class Header(NamedTuple):
    """What the first record says.

    Attributes:
        names: of the columns, all different; None of a column that is passed over.
        delimiter: one ASCII character.
        start: the offset of the first row.
    """

    names: list[str | None]
    delimiter: str
    start: int


class _Record(NamedTuple):
    cells: list[str]
    delimiter: str
    line: int
    end: int


def read_header(
    text: Text, delimiter: str | None, has_names: bool, taken: Collection[str] | None, errors: ErrorCollector
) -> Header:
    """Read the first record that is not empty.

    Args:
        text: the whole file, in UTF-8.
        delimiter: None: the one of comma, semicolon, tab and bar that divides the record most, unless a
            first line `sep=;` says it.
        has_names: whether the record names the columns; else they are `column_1`, `column_2`, …
        taken: see `check_names`.
        errors: where names that can't be the columns' are noted.

    Raises:
        InvalidRequest: there is no record that can be read.
    """
    begin = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    if said := _SAID_BY_EXCEL.match(text, begin):
        begin, delimiter = said.end(), delimiter or said[1].decode()
    record = _first_record(text, begin, delimiter or _DELIMITERS, errors)
    if has_names and record.end == len(text) and text[-1:] not in b"\r\n":
        errors.fail("#", f"There are no rows below the columns' names. {_CURL}")
    if len(record.cells) > MOST_COLUMNS:
        found = f"{len(record.cells)} columns; at most {MOST_COLUMNS} are taken"
        errors.fail("#", f"Line {record.line} has {found}.")
    if not has_names:
        return Header([f"column_{n}" for n in range(1, len(record.cells) + 1)], record.delimiter, begin)
    names = check_names([name.strip() for name in record.cells], f"Line {record.line}: ", taken, errors)
    return Header(names, record.delimiter, record.end)


def check_names(
    names: Sequence[str], where: str, taken: Collection[str] | None, errors: ErrorCollector
) -> list[str | None]:
    """The names of columns, where they can be: None for an empty one, and for the second of two.

    Args:
        names: as they were sent.
        where: begins a message.
        taken: the columns that matter; None: all. What is wrong with others is no error.
        errors: where it is noted.
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        matters = errors if taken is None or name in taken else ErrorCollector()
        if not name:
            remedy = "name it or leave it out, as pandas leaves its index out with `index=False`"
            matters.add("#", f"{where}column {number} has no name: {remedy}.")
        elif name in first:
            matters.add("#", f"{where}columns {first[name]} and {number} are both called `{name}`.")
        else:
            check_name(name, pointer_to("#/columns", name), matters)
            first[name] = number
    if not first and not errors.count:
        errors.add("#", f"{where}no column has a name.")
    return [name if first.get(name) == number else None for number, name in enumerate(names, start=1)]


def _first_record(text: Text, begin: int, delimiters: str, errors: ErrorCollector) -> _Record:
    """The first record that is not empty, divided by the delimiter that divides it most."""
    head = text[begin : begin + LONGEST_HEADER_BYTES]
    if len(head) == LONGEST_HEADER_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
        if not head:
            longest = f"{LONGEST_HEADER_BYTES // 2**20} MiB"
            errors.fail("#", f"The first line is longer than {longest}. {_CURL}")
    check_utf8(head, 0, len(head), 1, errors)
    lines = head.decode()
    if not lines.strip("\r\n"):
        errors.fail("#", "The file is empty: send a line with the columns' names, and rows below it.")
    records = [record for each in delimiters if (record := _divided(lines, begin, each))]
    if not records:
        errors.fail("#", "The first line can't be read: a name has more than 131072 characters.")
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
