"""CSV files as tables, read block by block with column types inferred from the whole file."""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from service.datasets.dataset import Batches, with_options
from service.datasets.sources.casts import as_type
from service.datasets.sources.cell_texts import GAPS
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    COLUMN_TYPES,
    DATETIME,
    INTEGER,
    NUMBER,
    TEXT,
    ColumnPointers,
    check_types,
    common_type,
    from_arrow,
    is_text,
)
from service.datasets.sources.csv_header import read_header
from service.datasets.sources.csv_records import BLOCK_BYTES, Records
from service.datasets.sources.nanoseconds import has_nanoseconds, nanoseconds_warning
from service.datasets.sources.ragged_rows import RaggedRows
from service.datasets.sources.space_separated import separate_by_tabs
from service.datasets.sources.text_columns import infer_text_type, null_numbers
from service.datasets.sources.text_encoding import check_utf8, open_text
from service.datasets.validation import ErrorCollector, quote_value
from service.errors import shorten
from service.specs.upload import SPACES, ReadOptions

T = TypeVar("T")
Block = tuple[int, int]
"""Offsets of the start and end of a block of whole records."""

# Arrow parses pieces of this size in parallel, one for each core.
_ARROW_BLOCK_BYTES = BLOCK_BYTES // 8
# Parsing of a block stops after this many ragged rows; Python's csv module then counts them all.
_MAX_SKIPPED_ROWS = 1000
_ZONED = pa.timestamp("us", "UTC")  # Arrow's type for times with an offset
_MAX_INT64 = 2.0**63
_MAX_REASON_CHARACTERS = 200


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
        """The type of the resulting column: one of the column types."""
        return self.cell_type or self.arrow_type or NUMBER

    def widen(self, column: pa.ChunkedArray, options: ReadOptions) -> "_ColumnReading":
        """Return the reading that fits a further block, too.

        If its `arrow_type` is text and the block was not read as text, the block must be read again.
        """
        if is_text(column.type):
            found = TEXT if self.cell_type == TEXT else infer_text_type(column, options)
            return _ColumnReading(TEXT, common_type(self.cell_type, found))
        reading = _reading_of(column.type)
        if reading.arrow_type is None or reading.arrow_type == self.arrow_type:
            return self
        if self.arrow_type is None:
            return reading
        if common_type(self.cell_type, reading.cell_type) == NUMBER:
            return _ColumnReading(NUMBER, NUMBER)
        return _ColumnReading(TEXT, self.cell_type)

    def widen_numbers(self, texts: pa.ChunkedArray, options: ReadOptions) -> "_ColumnReading":
        """Return the reading of a column that is declared as numeric and fits a further block, too."""
        found = infer_text_type(texts, options)
        return _ColumnReading(
            TEXT, common_type(self.cell_type, found if found in (None, INTEGER) else NUMBER)
        )


class CsvTable:
    """Reader of a CSV file.

    An unquoted cell that is empty or a word for a missing value (`NA`, `NaN`, `null`, …) is missing. A
    column of numbers is numeric, of `true` and `false` boolean, of ISO 8601 dates or times datetime; quoted
    empty cells are missing in these. Any other column is categorical, and its quoted cells are always text.
    Integers with leading zeros, beyond int64 or in hexadecimal are categorical: as numbers they would not be
    what was written.

    Args:
        path: The file, in a folder of its own, where a copy in UTF-8 may be written.
        options: How to read the file. Columns with a declared type are read as text first, to keep leading
            zeros.
        selected: Names of the columns to read; None: all. Other columns get null values and are not checked.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name. Quotes have no meaning then: a model reads all formats alike.

    Raises:
        InvalidRequest: The header can't be read, or an option is invalid.
    """

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        selected: Collection[str] | None = None,
        known: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._errors = ErrorCollector()
        self._text, encoding_warnings = open_text(path, options, self._errors)
        header = read_header(self._text, options, selected, self._errors)
        self._names = [name for name in header.names if name is not None]
        if known is None:  # a model's missing columns are reported with its other errors
            check_types(options.types, self._names, "?types", self._errors)
        # Arrow needs a different name for every column, ignored ones included.
        self._labels = [name or f"\0{number}" for number, name in enumerate(header.names)]
        self._empty = [self._labels[position] for position in header.empty]
        self._delimiter = header.delimiter
        if header.delimiter == SPACES:
            self._text, self._delimiter = separate_by_tabs(path, self._text, header.start, self._errors), "\t"
        self._records = Records(self._text, header.start, self._delimiter)
        self._warnings = [*encoding_warnings, *header.warnings, *self._records.escaped_quote_warnings()]
        self._nanoseconds = set[str]()
        self._options, self._known = options, known
        self._declared = options.types
        # An empty cell without quotes is missing even if the model knows the empty text.
        words = {word for each in (known or {}).values() for word in each if word}
        # Arrow compares whole cells exactly: a space may follow the delimiter.
        self._missing = [
            space + word for word in (*GAPS, *options.missing) if word not in words for space in ("", " ")
        ]
        # Arrow would read `1.234` as a number although the point is between thousands.
        initial = _ColumnReading(None if _may_infer(options) else TEXT)
        self._readings = {name: initial for name in self._names if selected is None or name in selected}
        for name in self._readings.keys() & options.types.keys():
            is_numeric = options.types[name] == "numeric"
            self._readings[name] = _ColumnReading(
                TEXT, None if is_numeric else ARROW_TYPES[options.types[name]]
            )
        for name in self._readings.keys() & set(header.texts):
            self._readings[name] = _ColumnReading(TEXT, TEXT)

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, without those that are left out."""
        return self._names

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about the reading; complete after `read`."""
        cut_off = [name for name in self._names if name in self._nanoseconds]
        return [*self._warnings, *map(nanoseconds_warning, cut_off)]

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
        errors, ragged = ErrorCollector(self._errors), RaggedRows(len(self._labels))
        rows, types, changed = 0, self._column_types(), False  # rows: read so far, ragged ones included
        for block in self._records.blocks(errors):
            parsed = self._read_block(block, errors, ragged)
            self._check_empty(parsed.table, rows, errors)
            # A change before the first row is harmless: no batch has been yielded yet.
            changed |= rows > 0 and types != self._column_types()
            types = self._column_types()
            # After a change the remaining blocks are read only to settle the types.
            if parsed.table.num_rows and not changed:
                yield from self._convert(parsed.table, block, rows, errors)
            rows += parsed.table.num_rows + len(parsed.ragged)
        if changed:
            raise _TypesChanged
        ragged.report(errors)
        if not rows and not errors.count:
            errors.add("#", "There are no rows below the header.")
        errors.raise_if_any()

    def _check_empty(self, table: pa.Table, first_row: int, errors: ErrorCollector) -> None:
        """Check that the columns that were left out as empty have no values."""
        for label in self._empty if table.num_rows and self._known is None else ():
            filled = pc.not_equal(pc.utf8_trim_whitespace(table[label]), "")
            if pc.any(filled).as_py():
                number, row = self._labels.index(label) + 1, pc.index(filled, True).as_py()
                value = quote_value(table[label][row].as_py())
                detail = f"Column {number} has no name, but a value in row {first_row + row}, {value}"
                errors.fail("#", f"{detail}; name it, or leave it out with `?ignore=column_{number}`.")

    def _column_types(self) -> Mapping[str, pa.DataType]:
        return {name: reading.column_type for name, reading in self._readings.items()}

    def _read_block(self, block: Block, errors: ErrorCollector, ragged: RaggedRows) -> _ParsedBlock:
        """Parse a block with the types known so far, and widen the types that don't fit."""
        known = {
            name: reading.arrow_type
            for name, reading in self._readings.items()
            if reading.arrow_type is not None
        }
        try:
            parsed = self._parse(block, known, _ARROW_BLOCK_BYTES)
            fits = self._widen(parsed.table) and not self._find_lossy(block, parsed.table)
        except pa.ArrowException:
            fits = False
        if not fits:
            parsed = self._infer_block(block, errors, ragged)
        if parsed.ragged and not self._add_ragged(block, ragged):
            # Python's csv module disagrees with Arrow or failed: the line numbers are unknown.
            for values in parsed.ragged:
                ragged.add(None, values)
        return parsed

    def _infer_block(self, block: Block, errors: ErrorCollector, ragged: RaggedRows) -> _ParsedBlock:
        """Parse a block with inferred types, and widen the known types by them."""
        while True:  # each pass reads at least one more column as text
            texts = {name: TEXT for name, reading in self._readings.items() if reading.arrow_type == TEXT}
            try:
                # In one piece: a record longer than `_ARROW_BLOCK_BYTES` can't be read in several.
                parsed = self._parse(block, texts, block[1] - block[0])
            except pa.ArrowException as error:
                return self._refuse(block, error, errors, ragged)
            if self._widen(parsed.table) and not self._find_lossy(block, parsed.table):
                return parsed

    def _widen(self, table: pa.Table) -> bool:
        """Widen the types of undeclared columns to fit a block.

        Returns:
            False if a column is text now but was not read as text, so that the block must be read again.
        """
        fits = True
        for name, reading in self._readings.items():
            if name not in self._declared:
                self._readings[name] = reading.widen(table[name], self._options)
                fits &= self._readings[name].arrow_type != TEXT or is_text(table[name].type)
            elif self._declared[name] == "numeric":
                self._readings[name] = reading.widen_numbers(table[name], self._options)
        return fits

    def _find_lossy(self, block: Block, table: pa.Table) -> list[str]:
        """Find columns that Arrow reads as numbers, although the numbers don't keep what was written.

        Such a column is text from now on, so that the block must be read again.
        """
        suspects = [name for name in self._readings if _exceeds_int64(table[name])]
        if self._records.may_have_padded_numbers(*block):
            suspects += [name for name in self._readings if table[name].type == INTEGER]
        if not suspects:
            return []
        texts = self._parse(block, dict.fromkeys(suspects, TEXT), block[1] - block[0]).table
        lossy = [name for name in suspects if infer_text_type(texts[name], self._options) == TEXT]
        self._readings.update(dict.fromkeys(lossy, _ColumnReading(TEXT, TEXT)))
        return lossy

    def _refuse(
        self, block: Block, error: pa.ArrowException, errors: ErrorCollector, ragged: RaggedRows
    ) -> _ParsedBlock:
        """Report why Arrow can't parse a block. A block of empty lines is no error and has no rows."""
        if not self._text[slice(*block)].strip(b"\r\n") or self._add_ragged(block, ragged):
            return _ParsedBlock(pa.table({}), [])
        ragged.report(errors)
        line = self._records.line(block[0])
        check_utf8(self._text, *block, line, errors)
        errors.fail(
            "#", f"The lines from {line} on can't be read: {shorten(str(error), _MAX_REASON_CHARACTERS)}."
        )

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
                include_columns=[*self._readings, *self._empty] or self._labels[:1],
                column_types={**types, **dict.fromkeys(self._empty, TEXT)},
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
            pointers, reading = ColumnPointers("#/columns", name, first_row), self._readings[name]
            if reading.arrow_type == TEXT:
                known = None if self._known is None else self._known.get(name, ())
                type_name = COLUMN_TYPES[reading.column_type]
                column = as_type(table[name], type_name, self._options, pointers, errors, known)
            else:
                sent = lambda row: cells(name)[row].as_py()  # noqa: E731
                column = from_arrow(table[name], pointers, errors, sent)
                if reading.column_type in (INTEGER, NUMBER):
                    column = null_numbers(column, self._options.missing)
            if reading.column_type == DATETIME and has_nanoseconds(table[name]):
                self._nanoseconds.add(name)
            return column.cast(reading.column_type, safe=False)

        columns = {name: convert_column(name) for name in self._names}
        table = with_options(pa.table(columns), self._options, reads_gaps=self._known is None)
        yield from table.combine_chunks().to_batches()

    def _add_ragged(self, block: Block, ragged: RaggedRows) -> bool:
        """Add the ragged rows of a block with their lines; return whether there are any.

        Arrow doesn't report line numbers, so the block is read again with Python's csv module.
        """
        first_line, found = self._records.line(block[0]), False
        lines = io.StringIO(self._text[slice(*block)].decode(errors="replace"), newline="")
        reader = csv.reader(lines, delimiter=self._delimiter)
        with suppress(csv.Error):  # a cell longer than Python's limit of 131,072 characters
            for record in reader:
                if record and len(record) != len(self._labels):
                    found = True
                    ragged.add(
                        first_line + reader.line_num - 1, len(record), any("\\" in each for each in record)
                    )
        return found


def _may_infer(options: ReadOptions) -> bool:
    """Return whether Arrow's inference of types agrees with the options."""
    only_digits = any(re.fullmatch("(%[A-Za-z])+", pattern) for pattern in options.dates)
    return options.reads_plain_numbers and not only_digits


def _exceeds_int64(column: pa.ChunkedArray) -> bool:
    """Return whether a column that Arrow reads as floats may hold integers beyond int64."""
    if column.type != NUMBER:
        return False
    ends = [end for end in pc.min_max(column).as_py().values() if end is not None]
    return any(_MAX_INT64 <= abs(end) < math.inf for end in ends)


def _reading_of(arrow_type: pa.DataType) -> _ColumnReading:
    """Return how to read a column, given the type other than text that Arrow inferred from a block."""
    if pa.types.is_null(arrow_type):
        return _ColumnReading()
    if arrow_type in (INTEGER, NUMBER):
        return _ColumnReading(arrow_type, arrow_type)
    if pa.types.is_boolean(arrow_type):
        return _ColumnReading(BOOLEAN, BOOLEAN)
    if pa.types.is_date(arrow_type) or pa.types.is_timestamp(arrow_type):
        return _ColumnReading(_ZONED if getattr(arrow_type, "tz", None) else DATETIME, DATETIME)
    return _ColumnReading(TEXT, TEXT)
