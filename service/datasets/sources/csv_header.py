"""The header of a CSV file: delimiter, column names and the offset of the first row."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from service.datasets.sources.columns import MAX_COLUMNS, check_name
from service.datasets.sources.csv_records import Text
from service.datasets.sources.text_encoding import check_utf8
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to

MAX_HEADER_BYTES: Final = 4 * 2**20
_DELIMITERS = ",;\t|"
_EXCEL_DELIMITER_LINE = re.compile(rb"sep=([!-~\t])\r?\n")
_CURL_REMEDY = "With curl, use `--data-binary`; `-d` removes line breaks."


class Header(NamedTuple):
    """The header of a CSV file.

    Attributes:
        names: Name of each column, all different; None for a column that is ignored.
        delimiter: One ASCII character.
        start: Offset of the first row.
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
    text: Text,
    delimiter: str | None,
    has_names: bool,
    selected: Collection[str] | None,
    errors: ErrorCollector,
) -> Header:
    """Read the first record that is not empty.

    Args:
        text: The whole file, in UTF-8.
        delimiter: The declared delimiter. None: the one of Excel's first line `sep=;`, if the file has one;
            otherwise the one of comma, semicolon, tab and bar that splits the record into the most cells.
        has_names: Whether the record contains the column names; otherwise they are `column_1`, `column_2`, …
        selected: See `check_names`.
        errors: Receives an error for each invalid name.

    Raises:
        InvalidRequest: The record can't be read, or the file has nothing else.
    """
    offset = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    if excel_line := _EXCEL_DELIMITER_LINE.match(text, offset):
        offset, delimiter = excel_line.end(), delimiter or excel_line[1].decode()
    record = _first_record(text, offset, delimiter or _DELIMITERS, errors)
    if has_names and record.end == len(text) and text[-1:] not in b"\r\n":
        errors.fail("#", f"There are no rows below the header. {_CURL_REMEDY}")
    if len(record.cells) > MAX_COLUMNS:
        found = f"{len(record.cells)} columns; at most {MAX_COLUMNS} are supported"
        errors.fail("#", f"Line {record.line} has {found}.")
    if not has_names:
        return Header([f"column_{n}" for n in range(1, len(record.cells) + 1)], record.delimiter, offset)
    names = check_names([name.strip() for name in record.cells], f"Line {record.line}: ", selected, errors)
    return Header(names, record.delimiter, record.end)


def check_names(
    names: Sequence[str], prefix: str, selected: Collection[str] | None, errors: ErrorCollector
) -> list[str | None]:
    """Check the column names of a file.

    Args:
        names: The names as sent.
        prefix: Start of each message, for instance the line.
        selected: Names of the columns to read; None: all. The names of other columns are not checked.
        errors: Receives an error for each selected column whose name is empty, repeated or invalid.

    Returns:
        The names; None for an empty name and for a repetition.
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        is_checked = selected is None or name in selected
        name_errors = errors if is_checked else ErrorCollector()  # discarded
        if not name:
            remedy = "name it or remove it (pandas omits its index with `index=False`)"
            name_errors.add("#", f"{prefix}column {number} has no name; {remedy}.")
        elif name in first:
            name_errors.add("#", f"{prefix}columns {first[name]} and {number} are both called `{name}`.")
        else:
            check_name(name, pointer_to("#/columns", name), name_errors)
            first[name] = number
    if not first and not errors.count:
        errors.add("#", f"{prefix}no column has a name.")
    return [name if first.get(name) == number else None for number, name in enumerate(names, start=1)]


def _first_record(text: Text, offset: int, delimiters: str, errors: ErrorCollector) -> _Record:
    """Read the first non-empty record, with the delimiter that splits it into the most cells."""
    head = text[offset : offset + MAX_HEADER_BYTES]
    if len(head) == MAX_HEADER_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
        if not head:
            errors.fail("#", f"The first line is longer than {MAX_HEADER_BYTES // 2**20} MiB. {_CURL_REMEDY}")
    check_utf8(head, 0, len(head), 1, errors)
    lines = head.decode()
    if not lines.strip("\r\n"):
        errors.fail("#", "The file is empty; send a header line and rows below it.")
    records = [record for delimiter in delimiters if (record := _split_record(lines, offset, delimiter))]
    if not records:
        errors.fail("#", "The first line can't be read: a name has more than 131072 characters.")
    return max(records, key=lambda record: len(record.cells))


def _split_record(lines: str, offset: int, delimiter: str) -> _Record | None:
    """Split the first non-empty record; None if a cell exceeds the limit of Python's csv module."""
    stream = io.StringIO(lines, newline="")
    reader = csv.reader(stream, delimiter=delimiter)
    try:
        cells = next(record for record in reader if record)
    except csv.Error:
        return None
    end = offset + len(lines[: stream.tell()].encode())
    return _Record(cells, delimiter, reader.line_num, end)
