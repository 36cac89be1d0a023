"""A CSV as a table: read block by block, its columns' types inferred over the whole file."""

import csv
import io
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from pyarrow import csv as arrow_csv

from service.datasets.dataset import Batches
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    COLUMN_TYPES,
    DATETIME,
    MISSING_WORDS,
    NUMBER,
    TEXT,
    as_type,
    cell_of_column,
    check_types,
    from_arrow,
    told_by_text,
)
from service.datasets.sources.csv_header import read_header
from service.datasets.sources.csv_records import BLOCK_BYTES, Records
from service.datasets.sources.text_encoding import check_utf8, open_text
from service.datasets.validation import MOST_LISTED, ErrorCollector, counted
from service.specs.upload import ReadOptions

T = TypeVar("T")
Block = tuple[int, int]

# Arrow parses this much at a time, in as many threads as there are cores.
_PARSED_AT_ONCE_BYTES = BLOCK_BYTES // 8
# A block with more ragged rows is not read at all: they are only counted.
_MOST_LEFT_OUT = 1000
_ZONED = pa.timestamp("us", "UTC")  # times that say their offset
_MISSING_CELLS = [
    space + form
    for word in MISSING_WORDS
    for form in dict.fromkeys((word, word.lower(), word.upper(), word.title()))
    for space in ("", " ")
]


class _Parsed(NamedTuple):
    table: pa.Table
    ragged: list[int]  # how many values each row has that has too many or too few; these are left out


class _TypesChanged(Exception):
    """A block showed that a column is of another type than the batches before it were given as."""


class _Reading(NamedTuple):
    """How a column is read, as far as its cells have told.

    Attributes:
        arrow: the type that Arrow reads; None while there was no value. What Arrow can't read as one type
            it reads as text, which tells more: quoted cells that are empty, times with and without offset.
        kind: what the cells are; None while there was no value.
    """

    arrow: pa.DataType | None = None
    kind: pa.DataType | None = None

    @property
    def result(self) -> pa.DataType:
        """The type that the column is given as."""
        return self.kind or self.arrow or NUMBER

    def widened(self, column: pa.ChunkedArray) -> "_Reading":
        """The reading that takes in a block too; where that is of text and the block isn't, read it again."""
        if _is_text(column.type):
            found = TEXT if self.kind == TEXT else told_by_text(column)
            return _Reading(
                TEXT, found if self.kind is None else self.kind if found in (None, self.kind) else TEXT
            )
        found = _read_as(column.type)
        if found.arrow is None or found.arrow == self.arrow:
            return self
        return found if self.arrow is None else _Reading(TEXT, self.kind)


class CsvTable:
    """The rows of a CSV file.

    An unquoted cell that is empty or a word for a missing value (`NA`, `NaN`, `null`, …) is missing. A
    column of numbers is numeric, one of `true` and `false` boolean, one of ISO 8601 dates or times datetime,
    also where quoted cells are empty; any other is categorical, and what is quoted in it is text.

    Args:
        path: the file; it lies in a folder of its own, where a copy in UTF-8 may be made.
        options: how to read it. Columns that `types` names are read as text first, so that no zero is lost.
        taken: the columns that matter; None: all. Others are there without a value, and may hold anything.

    Raises:
        InvalidRequest: the first line can't be read, or an option doesn't fit.
    """

    def __init__(self, path: Path, options: ReadOptions, taken: Collection[str] | None = None) -> None:
        self._errors = ErrorCollector()
        self._text = open_text(path, options.encoding, self._errors)
        header = read_header(self._text, options.delimiter, options.header, taken, self._errors)
        self._names = [name for name in header.names if name is not None]
        check_types(options.types, self._names, "?types", self._errors)
        self._labels = [name or f"\0{number}" for number, name in enumerate(header.names)]
        self._delimiter = header.delimiter
        self._records = Records(self._text, header.start, header.delimiter)
        self._declared = options.types
        self._missing = [*_MISSING_CELLS, *options.missing]
        self._readings = {name: _Reading() for name in self._names if taken is None or name in taken}
        for name in self._readings.keys() & options.types.keys():
            self._readings[name] = _Reading(TEXT, ARROW_TYPES[options.types[name]])

    def read(self, consume: Callable[[Batches], T]) -> T:
        """What `consume` makes of the rows; it is called again when a column's type turns out late.

        Raises:
            InvalidRequest: with every error, or the first 100 of them and their number.
        """
        while True:  # twice, hardly ever more: each time ends with wider types, that fit every block
            try:
                return consume(self._batches())
            except _TypesChanged:
                continue

    def _batches(self) -> Batches:
        errors = ErrorCollector(self._errors)
        rows, given, changed = 0, self._results(), False
        for block in self._records.blocks(errors):
            parsed = self._read_block(block, errors)
            changed |= rows > 0 and given != self._results()
            given = self._results()
            if parsed.table.num_rows and not changed:
                yield from self._converted(parsed.table, block, rows, errors)
            rows += parsed.table.num_rows + len(parsed.ragged)
        if changed:
            raise _TypesChanged
        if not rows and not errors.count:
            errors.add("#", "There are no rows below the columns' names.")
        errors.raise_if_any()

    def _results(self) -> Mapping[str, pa.DataType]:
        return {name: reading.result for name, reading in self._readings.items()}

    def _read_block(self, block: Block, errors: ErrorCollector) -> _Parsed:
        """The rows of a block, read as the types known so far; where these don't fit, they change."""
        known = {name: reading.arrow for name, reading in self._readings.items() if reading.arrow is not None}
        try:
            parsed = self._parse(block, known, _PARSED_AT_ONCE_BYTES)
            fits = self._widen(parsed.table)
        except pa.ArrowInvalid:
            fits = False
        if not fits:
            parsed = self._infer(block, errors)
        if parsed.ragged and not self._note_ragged(block, errors):
            line, wanted = self._records.line(block[0]), len(self._labels)
            for values in parsed.ragged:
                found = f"{counted(values, 'value')} where there are {wanted} columns"
                errors.add("#", f"Somewhere from line {line} on: {found}.")
        return parsed

    def _infer(self, block: Block, errors: ErrorCollector) -> _Parsed:
        """A block whose cells tell the types, with those of the blocks before in mind."""
        while True:
            texts = {name: TEXT for name, reading in self._readings.items() if reading.arrow == TEXT}
            try:
                parsed = self._parse(block, texts, block[1] - block[0])
            except pa.ArrowInvalid as error:
                return self._refuse(block, error, errors)
            if self._widen(parsed.table):
                return parsed

    def _widen(self, table: pa.Table) -> bool:
        """Let each column's type take in what a block holds; False if it has to be read again as text."""
        fits = True
        for name in self._readings.keys() - self._declared.keys():
            self._readings[name] = self._readings[name].widened(table[name])
            fits &= self._readings[name].arrow != TEXT or _is_text(table[name].type)
        return fits

    def _refuse(self, block: Block, error: pa.ArrowInvalid, errors: ErrorCollector) -> _Parsed:
        """Say why a block can't be read; one of empty lines only can, and has no rows."""
        if not self._text[slice(*block)].strip(b"\r\n") or self._note_ragged(block, errors):
            return _Parsed(pa.table({}), [])
        line = self._records.line(block[0])
        check_utf8(self._text, *block, line, errors)
        errors.fail("#", f"The lines from {line} on can't be read: {error}.")

    def _parse(self, block: Block, types: Mapping[str, pa.DataType], at_once_bytes: int) -> _Parsed:
        ragged: list[int] = []

        def leave_out(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row.actual_columns)
            return "skip" if len(ragged) <= _MOST_LEFT_OUT else "error"

        table = arrow_csv.read_csv(
            pa.py_buffer(memoryview(self._text)[slice(*block)]),
            arrow_csv.ReadOptions(column_names=self._labels, block_size=at_once_bytes),
            arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=self._records.has_quotes(*block),
                invalid_row_handler=leave_out,
            ),
            arrow_csv.ConvertOptions(
                include_columns=[*self._readings] or self._labels[:1],
                column_types=types,
                null_values=self._missing,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
        return _Parsed(table, ragged)

    def _converted(self, table: pa.Table, block: Block, first_row: int, errors: ErrorCollector) -> Batches:
        cells = cache(lambda name: self._parse(block, {name: TEXT}, block[1] - block[0]).table[name])

        def convert(name: str) -> pa.ChunkedArray | pa.Array:
            if name not in self._readings:
                return pa.nulls(table.num_rows)
            place, reading = cell_of_column("#/columns", name, first_row), self._readings[name]
            if reading.arrow == TEXT:
                return as_type(table[name], COLUMN_TYPES[reading.result], place, errors)
            return from_arrow(table[name], place, errors, lambda row: cells(name)[row].as_py())

        columns = {name: convert(name) for name in self._names}
        yield from pa.table(columns).combine_chunks().to_batches()

    def _note_ragged(self, block: Block, errors: ErrorCollector) -> int:
        """Note each row of a block that has too many or too few values, by its line; how many there are."""
        first_line, wanted, count = self._records.line(block[0]), len(self._labels), 0
        lines = io.StringIO(self._text[slice(*block)].decode(errors="replace"), newline="")
        reader = csv.reader(lines, delimiter=self._delimiter)
        with suppress(csv.Error):  # a cell is longer than Python's reader takes
            for record in reader:
                if record and len(record) != wanted:
                    count += 1
                    if count <= MOST_LISTED:
                        found = f"{counted(len(record), 'value')} where there are {wanted} columns"
                        errors.add("#", f"Line {first_line + reader.line_num - 1}: {found}.")
        errors.add_unlisted(max(0, count - MOST_LISTED))
        return count


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), TEXT)


def _read_as(kind: pa.DataType) -> _Reading:
    """How a column is read, given the type other than text in which Arrow has read a block of it."""
    if pa.types.is_null(kind):
        return _Reading()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _Reading(NUMBER, NUMBER)
    if pa.types.is_boolean(kind):
        return _Reading(BOOLEAN, BOOLEAN)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _Reading(_ZONED if getattr(kind, "tz", None) else DATETIME, DATETIME)
    return _Reading(TEXT, TEXT)
