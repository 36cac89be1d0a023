"""A CSV body as a table: a header line, then one line a row."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pyarrow as pa
from pyarrow import csv as arrow_csv

from service.datasets.columns import TEXT, check_name, from_cells
from service.datasets.dataset import TabularDataset
from service.datasets.mistakes import Mistakes, counted
from service.errors import FieldError, InvalidRequest, pointer_to

_DELIMITERS = ",;\t|"
_LARGEST_BLOCK_BYTES = 2**31 - 1


class _Header(NamedTuple):
    line: int
    names: list[str]
    delimiter: str


def read_csv(body: bytes) -> TabularDataset:
    """The table that a CSV body holds.

    Args:
        body: UTF-8, with or without a byte order mark. The delimiter is the one of comma, semicolon, tab
            and bar that splits the header most; empty lines are skipped.

    Raises:
        InvalidRequest: with every mistake, or the first 100 of them and their number.
    """
    text = _decode(body)
    mistakes = Mistakes()
    header = _read_header(text)
    names = [name.strip() for name in header.names]
    _check_names(names, header.line, mistakes)
    mistakes.check()
    if text.count('"') % 2:
        _check_quotes(text, header, mistakes)
    table = _read_cells(body, text, header, mistakes).rename_columns(names)
    if not table.num_rows:
        mistakes.add("#", "There is a header line and no row below it.")
    arrays = {
        name: from_cells(table[name].combine_chunks(), partial(pointer_to, "#/columns", name), mistakes)
        for name in names
    }
    mistakes.check()
    return TabularDataset(pa.table(arrays))


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        detail = f"Line {line} is not UTF-8: found the byte 0x{body[error.start]:02x}."
        raise InvalidRequest(errors=[FieldError("#", detail)]) from None


def _read_header(text: str) -> _Header:
    """The first line that is not empty, divided by the delimiter that divides it most."""
    try:
        headers = [_Header(*next(_records(text, delimiter)), delimiter) for delimiter in _DELIMITERS]
    except StopIteration:
        detail = "The body is empty: send a header line with the columns' names, and rows below it."
        raise InvalidRequest(errors=[FieldError("#", detail)]) from None
    except csv.Error as error:
        raise InvalidRequest(errors=[FieldError("#", f"The header can't be read: {error}.")]) from None
    return max(headers, key=lambda header: len(header.names))


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return ((reader.line_num, record) for record in reader if record)


def _check_names(names: list[str], line: int, mistakes: Mistakes) -> None:
    for number, name in enumerate(names, start=1):
        if not name:
            mistakes.add("#", f"Line {line}: column {number} has no name.")
        elif name in names[: number - 1]:
            first = names.index(name) + 1
            mistakes.add("#", f"Line {line}: columns {first} and {number} are both called `{name}`.")
        else:
            check_name(name, pointer_to("#/columns", name), mistakes)


def _check_quotes(text: str, header: _Header, mistakes: Mistakes) -> None:
    """Refuse a quote that is left open: its cell would swallow all lines below."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        mistakes.fail("#", f"The record from line {line} on can't be read: {error}. Is a quote left open?")


def _read_cells(body: bytes, text: str, header: _Header, mistakes: Mistakes) -> pa.Table:
    """All cells as text; null where a cell is empty and not quoted."""
    try:
        return arrow_csv.read_csv(
            pa.py_buffer(body),
            # One block, since Arrow refuses a line that is longer than a block.
            read_options=arrow_csv.ReadOptions(block_size=min(len(body), _LARGEST_BLOCK_BYTES)),
            parse_options=arrow_csv.ParseOptions(delimiter=header.delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header.names, TEXT),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _note_ragged_lines(text, header, mistakes)
        mistakes.check()
        mistakes.fail("#", f"{error}.")


def _note_ragged_lines(text: str, header: _Header, mistakes: Mistakes) -> None:
    try:
        for line, record in _records(text, header.delimiter):
            if len(record) != len(header.names):
                detail = f"{counted(len(record), 'value')} where the header has {len(header.names)}."
                mistakes.add("#", f"Line {line}: {detail}")
    except csv.Error as error:
        mistakes.add("#", f"The lines can't be read: {error}.")
