"""CSV files as tables, read block by block with column types inferred from the whole file."""

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
from service.datasets.sources.casts import as_type
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    COLUMN_TYPES,
    DATETIME,
    NUMBER,
    TEXT,
    check_types,
    column_pointers,
    from_arrow,
)
from service.datasets.sources.csv_header import read_header
from service.datasets.sources.csv_records import BLOCK_BYTES, Records
from service.datasets.sources.text_columns import MISSING_WORDS, infer_text_type
from service.datasets.sources.text_encoding import check_utf8, open_text
from service.datasets.validation import MAX_LISTED, ErrorCollector, count_of
from service.specs.upload import ReadOptions

T = TypeVar("T")
Block = tuple[int, int]
"""Offsets of the start and end of a block of whole records."""

# Arrow parses pieces of this size in parallel, one for each core.
_ARROW_BLOCK_BYTES = BLOCK_BYTES // 8
# Parsing of a block stops after this many ragged rows; Python's csv module then counts them all.
_MAX_SKIPPED_ROWS = 1000
_ZONED = pa.timestamp("us", "UTC")  # Arrow's type for times with an offset
# Arrow compares whole cells exactly: list the usual cases, and a space after the delimiter.
_MISSING_CELLS = [
    space + form
    for word in MISSING_WORDS
    for form in dict.fromkeys((word, word.lower(), word.upper(), word.title()))
    for space in ("", " ")
]


class _ParsedBlock(NamedTuple):
    """The rows of a block.

    Attributes:
        table: The selected columns, without ragged rows.
        ragged: For each ragged row (too many or too few values), its number of values.
    """

    table: pa.Table
    ragged: list[int]


class _TypesChanged(Exception):
    """A block changed the type of a column of which batches have already been consumed."""


class _ColumnReading(NamedTuple):
    """The type of a column, as far as the blocks read so far determine it.

    Arrow reads a block of a column as a single type, and as text where it finds none. Such text may still be
    numbers, booleans or times: with quoted empty cells, or with times of which only some have an offset.

    Attributes:
        arrow_type: Type that Arrow reads the column as; None while all cells were missing.
        cell_type: Column type that all cells have; None while all were missing.
    """

    arrow_type: pa.DataType | None = None
    cell_type: pa.DataType | None = None

    @property
    def column_type(self) -> pa.DataType:
        """The type of the resulting column: one of the four column types."""
        return self.cell_type or self.arrow_type or NUMBER

    def widen(self, column: pa.ChunkedArray) -> "_ColumnReading":
        """Return the reading that fits a further block, too.

        If its `arrow_type` is text and the block was not read as text, the block must be read again.
        """
        if _is_text(column.type):
            found = TEXT if self.cell_type == TEXT else infer_text_type(column)
            if self.cell_type is None:
                return _ColumnReading(TEXT, found)
            return _ColumnReading(TEXT, self.cell_type if found in (None, self.cell_type) else TEXT)
        reading = _reading_of(column.type)
        if reading.arrow_type is None or reading.arrow_type == self.arrow_type:
            return self
        return reading if self.arrow_type is None else _ColumnReading(TEXT, self.cell_type)


class CsvTable:
    """Reader of a CSV file.

    An unquoted cell that is empty or a word for a missing value (`NA`, `NaN`, `null`, …) is missing. A
    column of numbers is numeric, of `true` and `false` boolean, of ISO 8601 dates or times datetime; quoted
    empty cells are missing in these. Any other column is categorical, and its quoted cells are always text.

    Args:
        path: The file, in a folder of its own, where a copy in UTF-8 may be written.
        options: How to read the file. Columns with a declared type are read as text first, to keep leading
            zeros.
        selected: Names of the columns to read; None: all. Other columns get null values and are not checked.

    Raises:
        InvalidRequest: The header can't be read, or an option is invalid.
    """

    def __init__(self, path: Path, options: ReadOptions, selected: Collection[str] | None = None) -> None:
        self._errors = ErrorCollector()
        self._text = open_text(path, options.encoding, self._errors)
        header = read_header(self._text, options.delimiter, options.header, selected, self._errors)
        self._names = [name for name in header.names if name is not None]
        check_types(options.types, self._names, "?types", self._errors)
        # Arrow needs a different name for every column, ignored ones included.
        self._labels = [name or f"\0{number}" for number, name in enumerate(header.names)]
        self._delimiter = header.delimiter
        self._records = Records(self._text, header.start, header.delimiter)
        self._declared = options.types
        self._missing = [*_MISSING_CELLS, *options.missing]
        self._readings = {
            name: _ColumnReading() for name in self._names if selected is None or name in selected
        }
        for name in self._readings.keys() & options.types.keys():
            self._readings[name] = _ColumnReading(TEXT, ARROW_TYPES[options.types[name]])

    def read(self, consume: Callable[[Batches], T]) -> T:
        """Read the rows.

        Args:
            consume: Processes the batches of rows. It is called again, with batches from the first row on,
                if a late block changes the type of a column.

        Returns:
            The result of the last call of `consume`.

        Raises:
            InvalidRequest: The file has errors; lists the first 100 and counts all.
        """
        while True:
            # Types only widen (unknown → Arrow's type → text), so this ends, mostly after two passes.
            try:
                return consume(self._batches())
            except _TypesChanged:
                continue

    def _batches(self) -> Batches:
        errors = ErrorCollector(self._errors)
        rows, types, changed = 0, self._column_types(), False  # rows: read so far, ragged ones included
        for block in self._records.blocks(errors):
            parsed = self._read_block(block, errors)
            # A change before the first row is harmless: no batch has been yielded yet.
            changed |= rows > 0 and types != self._column_types()
            types = self._column_types()
            # After a change the remaining blocks are read only to settle the types.
            if parsed.table.num_rows and not changed:
                yield from self._convert(parsed.table, block, rows, errors)
            rows += parsed.table.num_rows + len(parsed.ragged)
        if changed:
            raise _TypesChanged
        if not rows and not errors.count:
            errors.add("#", "There are no rows below the header.")
        errors.raise_if_any()

    def _column_types(self) -> Mapping[str, pa.DataType]:
        return {name: reading.column_type for name, reading in self._readings.items()}

    def _read_block(self, block: Block, errors: ErrorCollector) -> _ParsedBlock:
        """Parse a block with the types known so far, and widen the types that don't fit."""
        known = {
            name: reading.arrow_type
            for name, reading in self._readings.items()
            if reading.arrow_type is not None
        }
        try:
            parsed = self._parse(block, known, _ARROW_BLOCK_BYTES)
            fits = self._widen(parsed.table)
        except pa.ArrowInvalid:
            fits = False
        if not fits:
            parsed = self._infer_block(block, errors)
        if parsed.ragged and not self._add_ragged_errors(block, errors):
            # Python's csv module disagrees with Arrow or failed: the line numbers are unknown.
            line, columns = self._records.line(block[0]), len(self._labels)
            for values in parsed.ragged:
                found = f"{count_of(values, 'value')}; the table has {columns} columns"
                errors.add("#", f"Some line from {line} on: found {found}.")
        return parsed

    def _infer_block(self, block: Block, errors: ErrorCollector) -> _ParsedBlock:
        """Parse a block with inferred types, and widen the known types by them."""
        while True:  # each pass reads at least one more column as text
            texts = {name: TEXT for name, reading in self._readings.items() if reading.arrow_type == TEXT}
            try:
                # In one piece: a record longer than `_ARROW_BLOCK_BYTES` can't be read in several.
                parsed = self._parse(block, texts, block[1] - block[0])
            except pa.ArrowInvalid as error:
                return self._refuse(block, error, errors)
            if self._widen(parsed.table):
                return parsed

    def _widen(self, table: pa.Table) -> bool:
        """Widen the types of undeclared columns to fit a block.

        Returns:
            False if a column is text now but was not read as text, so that the block must be read again.
        """
        fits = True
        for name in self._readings.keys() - self._declared.keys():
            self._readings[name] = self._readings[name].widen(table[name])
            fits &= self._readings[name].arrow_type != TEXT or _is_text(table[name].type)
        return fits

    def _refuse(self, block: Block, error: pa.ArrowInvalid, errors: ErrorCollector) -> _ParsedBlock:
        """Report why Arrow can't parse a block. A block of empty lines is no error and has no rows."""
        if not self._text[slice(*block)].strip(b"\r\n") or self._add_ragged_errors(block, errors):
            return _ParsedBlock(pa.table({}), [])
        line = self._records.line(block[0])
        check_utf8(self._text, *block, line, errors)
        errors.fail("#", f"The lines from {line} on can't be read: {error}.")

    def _parse(self, block: Block, types: Mapping[str, pa.DataType], arrow_block_bytes: int) -> _ParsedBlock:
        ragged: list[int] = []

        def skip_ragged(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row.actual_columns)
            return "skip" if len(ragged) <= _MAX_SKIPPED_ROWS else "error"

        table = arrow_csv.read_csv(
            pa.py_buffer(memoryview(self._text)[slice(*block)]),
            arrow_csv.ReadOptions(column_names=self._labels, block_size=arrow_block_bytes),
            arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=self._records.has_quotes(*block),
                invalid_row_handler=skip_ragged,
            ),
            arrow_csv.ConvertOptions(
                # Arrow reads all columns if none is included; the rows must be counted in any case.
                include_columns=[*self._readings] or self._labels[:1],
                column_types=types,
                null_values=self._missing,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
        return _ParsedBlock(table, ragged)

    def _convert(self, table: pa.Table, block: Block, first_row: int, errors: ErrorCollector) -> Batches:
        # The texts of a column's cells, read again only to quote a bad one.
        cells = cache(lambda name: self._parse(block, {name: TEXT}, block[1] - block[0]).table[name])

        def convert_column(name: str) -> pa.ChunkedArray | pa.Array:
            if name not in self._readings:
                return pa.nulls(table.num_rows)
            pointers, reading = column_pointers("#/columns", name, first_row), self._readings[name]
            if reading.arrow_type == TEXT:
                return as_type(table[name], COLUMN_TYPES[reading.column_type], pointers, errors)
            return from_arrow(table[name], pointers, errors, lambda row: cells(name)[row].as_py())

        columns = {name: convert_column(name) for name in self._names}
        yield from pa.table(columns).combine_chunks().to_batches()

    def _add_ragged_errors(self, block: Block, errors: ErrorCollector) -> int:
        """Add an error with the line of each ragged row in a block.

        Arrow doesn't report line numbers, so the block is read again with Python's csv module.

        Returns:
            The number of ragged rows.
        """
        first_line, columns, ragged = self._records.line(block[0]), len(self._labels), 0
        lines = io.StringIO(self._text[slice(*block)].decode(errors="replace"), newline="")
        reader = csv.reader(lines, delimiter=self._delimiter)
        with suppress(csv.Error):  # a cell longer than Python's limit of 131,072 characters
            for record in reader:
                if record and len(record) != columns:
                    ragged += 1
                    if ragged <= MAX_LISTED:
                        found = f"{count_of(len(record), 'value')}; the table has {columns} columns"
                        errors.add("#", f"Line {first_line + reader.line_num - 1}: found {found}.")
        errors.add_unlisted(max(0, ragged - MAX_LISTED))
        return ragged


def _is_text(arrow_type: pa.DataType) -> bool:
    return arrow_type in (pa.string(), TEXT)


def _reading_of(arrow_type: pa.DataType) -> _ColumnReading:
    """Return how to read a column, given the type other than text that Arrow inferred from a block."""
    if pa.types.is_null(arrow_type):
        return _ColumnReading()
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type):
        return _ColumnReading(NUMBER, NUMBER)
    if pa.types.is_boolean(arrow_type):
        return _ColumnReading(BOOLEAN, BOOLEAN)
    if pa.types.is_date(arrow_type) or pa.types.is_timestamp(arrow_type):
        return _ColumnReading(_ZONED if getattr(arrow_type, "tz", None) else DATETIME, DATETIME)
    return _ColumnReading(TEXT, TEXT)
