"""A CSV as a table: read block by block, its columns' types inferred over the whole file."""

import csv
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from pyarrow import csv as arrow_csv

from service.datasets.columns import (
    BOOLEAN,
    DATETIME,
    MISSING_WORDS,
    NUMBER,
    TEXT,
    as_type,
    cell_of_column,
    check_types,
    from_arrow,
)
from service.datasets.dataset import Batches
from service.datasets.mistakes import Mistakes, counted
from service.datasets.readers.header import read_header
from service.datasets.readers.records import BLOCK_BYTES, Records
from service.datasets.readers.text import check_utf8, open_text
from service.specs.upload import ReadOptions

T = TypeVar("T")
Block = tuple[int, int]

# Arrow parses this much at a time, in as many threads as there are cores.
_PARSED_AT_ONCE_BYTES = BLOCK_BYTES // 8
_ZONED = pa.timestamp("us", "UTC")  # times that say their offset; read, they are DATETIME
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


class CsvTable:
    """The rows of a CSV file.

    An unquoted cell that is empty or a word for a missing value (`NA`, `NaN`, `null`, …) is missing; what
    is quoted is not. A column of numbers is numeric, one of `true` and `false` boolean, one of ISO 8601
    dates or times datetime, any other categorical.

    Args:
        path: the file; it lies in a folder of its own, where a copy in UTF-8 may be made.
        options: how to read it. Columns that `types` names are read as text first, so that no zero is lost.

    Raises:
        InvalidRequest: the first line can't be read, or an option doesn't fit.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        mistakes = Mistakes()
        self._text = open_text(path, options.encoding, mistakes)
        header = read_header(self._text, options.delimiter, options.header, mistakes)
        check_types(options.types, header.names, "?types", mistakes)
        mistakes.check()
        self._names, self._delimiter = header.names, header.delimiter
        self._records = Records(self._text, header.start, header.delimiter)
        self._declared = options.types
        self._missing = [*_MISSING_CELLS, *options.missing]
        # What each column is read as, as far as it is known: None while it has shown no value.
        self._types: dict[str, pa.DataType | None] = dict.fromkeys(header.names)
        self._types |= dict.fromkeys(options.types, TEXT)

    def read(self, consume: Callable[[Batches], T]) -> T:
        """What `consume` makes of the rows; it is called again when a column's type turns out late.

        Raises:
            InvalidRequest: with every mistake, or the first 100 of them and their number.
        """
        while True:  # twice at most: the first time ends with the types that fit every block
            try:
                return consume(self._batches())
            except _TypesChanged:
                continue

    def _batches(self) -> Batches:
        mistakes = Mistakes()
        rows, given, changed = 0, self._result_types(), False
        for block in self._records.blocks(mistakes):
            table = self._read_block(block, mistakes)
            changed |= rows > 0 and given != self._result_types()
            given = self._result_types()
            if table.num_rows and not changed:
                yield self._converted(table, block, rows, mistakes)
            rows += table.num_rows
        if changed:
            raise _TypesChanged
        if not rows and not mistakes.count:
            mistakes.add("#", "There are no rows below the columns' names.")
        mistakes.check()

    def _result_types(self) -> Mapping[str, pa.DataType]:
        return {name: _RESULTS.get(kind, kind) for name, kind in self._types.items()}

    def _read_block(self, block: Block, mistakes: Mistakes) -> pa.Table:
        """The rows of a block, read as the types known so far; where these don't fit, they change."""
        known = {name: kind for name, kind in self._types.items() if kind is not None}
        try:
            parsed = self._parse(block, known, _PARSED_AT_ONCE_BYTES)
            fits = self._widen(parsed.table)
        except pa.ArrowInvalid:
            fits = False
        if not fits:
            parsed = self._infer(block, mistakes)
        if parsed.ragged:
            self._note_ragged(block, parsed.ragged, mistakes)
        return parsed.table

    def _infer(self, block: Block, mistakes: Mistakes) -> _Parsed:
        """A block whose cells tell the types, with those of the blocks before in mind."""
        while True:
            texts = {name: kind for name, kind in self._types.items() if kind == TEXT}
            try:
                parsed = self._parse(block, texts, block[1] - block[0])
            except pa.ArrowInvalid as error:
                return self._refuse(block, error, mistakes)
            if self._widen(parsed.table):
                return parsed

    def _widen(self, table: pa.Table) -> bool:
        """Let each column's type take in what a block holds; False if it has to be read again as text."""
        fits = True
        for field in table.schema:
            found, known = _read_as(field.type), self._types[field.name]
            if found is not None and found != known:
                self._types[field.name] = found if known is None else TEXT
            fits &= self._types[field.name] != TEXT or _is_text(field.type)
        return fits

    def _refuse(self, block: Block, error: pa.ArrowInvalid, mistakes: Mistakes) -> _Parsed:
        """Say why a block can't be read; one of empty lines only can, and has no rows."""
        if not self._text[slice(*block)].strip(b"\r\n"):
            return _Parsed(pa.table({}), [])
        line = self._records.line(block[0])
        check_utf8(self._text, *block, line, mistakes)
        mistakes.fail("#", f"The lines from {line} on can't be read: {error}.")

    def _parse(self, block: Block, types: Mapping[str, pa.DataType], at_once_bytes: int) -> _Parsed:
        ragged: list[int] = []

        def leave_out(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row.actual_columns)
            return "skip"

        table = arrow_csv.read_csv(
            pa.py_buffer(memoryview(self._text)[slice(*block)]),
            arrow_csv.ReadOptions(column_names=self._names, block_size=at_once_bytes),
            arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=self._records.has_quotes(*block),
                invalid_row_handler=leave_out,
            ),
            arrow_csv.ConvertOptions(
                column_types=types,
                null_values=self._missing,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
        return _Parsed(table, ragged)

    def _converted(self, table: pa.Table, block: Block, first_row: int, mistakes: Mistakes) -> pa.RecordBatch:
        cells = cache(lambda name: self._parse(block, {name: TEXT}, block[1] - block[0]).table[name])

        def convert(name: str) -> pa.ChunkedArray:
            place = cell_of_column("#/columns", name, first_row)
            if name in self._declared:
                return as_type(table[name], self._declared[name], place, mistakes)
            return from_arrow(table[name], place, mistakes, lambda row: cells(name)[row].as_py())

        columns = {name: convert(name) for name in self._names}
        return pa.table(columns).combine_chunks().to_batches()[0]

    def _note_ragged(self, block: Block, ragged: list[int], mistakes: Mistakes) -> None:
        """Note each row of a block that has too many or too few values, by its line."""
        first_line = self._records.line(block[0])
        lines = io.StringIO(self._text[slice(*block)].decode(errors="replace"), newline="")
        reader = csv.reader(lines, delimiter=self._delimiter)
        wanted = len(self._names)
        try:
            found = [
                (f"Line {first_line + reader.line_num - 1}", len(record))
                for record in reader
                if record and len(record) != wanted
            ]
        except csv.Error:  # a cell is too long for Python's reader
            found = [(f"Somewhere below line {first_line - 1}", values) for values in ragged]
        for where, values in found:
            mistakes.add("#", f"{where}: {counted(values, 'value')} where there are {wanted} columns.")


_RESULTS: Mapping[pa.DataType | None, pa.DataType] = {None: NUMBER, _ZONED: DATETIME}


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), TEXT)


def _read_as(kind: pa.DataType) -> pa.DataType | None:
    """What a column is read as, given the type in which Arrow has read a block of it."""
    if pa.types.is_null(kind):
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return NUMBER
    if pa.types.is_boolean(kind):
        return BOOLEAN
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _ZONED if getattr(kind, "tz", None) else DATETIME
    return TEXT
