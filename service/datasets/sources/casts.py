"""Conversion of columns to a declared type."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.cell_texts import null_gaps
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    COLUMN_TYPES,
    DATETIME,
    INTEGER,
    NUMBER,
    TEXT,
    Column,
    add_cell_errors,
    from_values,
    is_text,
    null_unless,
)
from service.datasets.sources.text_columns import null_numbers, parse_text
from service.datasets.validation import Cells, ErrorCollector, RowPointer
from service.specs.reading import CellOptions

_MAX_EXACT_INTEGER = 2**53  # a double represents all integers below it

KnownWords = Collection[str] | None
"""For a table that is sent to a model: those words for a missing value that the model knows as categories of
a column. None for data to train on, in which each source has its own missing values."""


def as_type(
    column: Column,
    type_name: str,
    options: CellOptions,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    known: KnownWords = None,
) -> Column:
    """Convert a column to a declared type.

    Text is trimmed; empty text and the words for a missing value become null, unless the column stays
    text. A datetime is a date or time of ISO 8601 or of a declared format; without an offset it is in UTC. A
    boolean may be written as true/false, yes/no or 1/0.

    Args:
        column: A column of the column types, [rows].
        type_name: `numeric`, `boolean`, `categorical` or `datetime`.
        options: Formats of texts, and further words for a missing value.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error, with the cell's text, for each cell that can't be converted; it becomes
            null.
        known: See `KnownWords`. For a model, text has missing values in every format, and a boolean is no
            number.
    """
    arrow_type = ARROW_TYPES[type_name]
    column = column.cast(TEXT) if is_text(column.type) else column
    if column.type == BOOLEAN and arrow_type == NUMBER:
        if known is not None:
            problem = "can't be read as a number; send 1 or 0."
            add_cell_errors(
                column.is_valid(), lambda row: column[row].as_py(), problem, pointer_to_row, errors
            )
        return column.cast(NUMBER)
    if arrow_type == TEXT:
        texts = as_text(column)
        return texts if known is None else null_gaps(texts, options, known)
    if COLUMN_TYPES[column.type] == type_name:
        return null_numbers(column, options.missing) if arrow_type == NUMBER else column
    return parse_text(as_text(column), arrow_type, options, pointer_to_row, errors, known is None)


def as_text(column: Column) -> Column:
    """Format cells as a client would write them: integers without a decimal point, times by RFC 3339."""
    if pa.types.is_timestamp(column.type):
        texts = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ").cast(TEXT)
        return pc.replace_substring_regex(texts, r"(\.\d{6})000Z$", r"\1Z")  # of nanoseconds
    if not pa.types.is_floating(column.type):
        return column.cast(TEXT)
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(_MAX_EXACT_INTEGER)))
    integers = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(TEXT)
    return pc.if_else(whole, integers, column.cast(TEXT))


def exact_texts(column: Column) -> Column | None:
    """Format values by their own digits, which a column type would not keep.

    These are decimals and short floats (`1.10`, `1.1`), and times with nanoseconds.

    Returns:
        large_string, [rows], null for NaN; None for a column without such values.
    """
    if pa.types.is_dictionary(column.type):
        return exact_texts(column.cast(column.type.value_type))
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return as_text(column.cast(pa.timestamp("ns")))  # in UTC
    if pa.types.is_decimal(column.type):
        return column.cast(TEXT)
    if not pa.types.is_float16(column.type) and not pa.types.is_float32(column.type):
        return None
    short = column.cast(pa.float32())
    return as_text(null_unless(pc.invert(pc.is_nan(short)), short))


def values_as_type(
    values: Sequence[Any],
    type_name: str,
    options: CellOptions,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    known: KnownWords = None,
    counts: Counter[type] | None = None,
) -> Column:
    """Convert JSON values, which may be of several types, cell by cell to a declared type.

    See `as_type` and, for `counts`, `from_values`.
    """
    counts = Counter(map(type, values)) if counts is None else counts
    types = counts.keys() - {NoneType}
    kinds: list[set[type]] = [{int, float}, {bool}, {str}]
    kinds = [kind for kind in kinds if kind & types]
    if len(kinds) < 2 or not types <= {int, float, bool, str}:
        column = from_values(values, pointer_to_row, errors, counts)
        return as_type(column, type_name, options, pointer_to_row, errors, known)
    parts = []
    for kind in kinds:
        of_kind = [value if type(value) in kind else None for value in values]
        kept = Counter({each: count for each, count in counts.items() if each in kind})
        column = from_values(of_kind, pointer_to_row, errors, kept)
        parts.append(as_type(column, type_name, options, pointer_to_row, errors, known))
    if ARROW_TYPES[type_name] == NUMBER:
        parts = [part.cast(NUMBER, safe=False) for part in parts]
    return pc.coalesce(*parts)


def retype(
    table: pa.Table,
    types: Mapping[str, str],
    options: CellOptions,
    pointers: Callable[[str], RowPointer],
    errors: ErrorCollector,
    known: Mapping[str, Collection[str]] | None = None,
) -> pa.Table:
    """Convert the columns of a table to their declared types; see `as_type`.

    Args:
        table: Columns of the column types.
        types: Column name → declared type; names that are not in the table are ignored.
        options: Formats of texts.
        pointers: Returns the pointers to the cells of a column.
        errors: Receives an error for each cell that can't be converted; it becomes null.
        known: See `KnownWords`, by column name.
    """
    names, columns = table.column_names, table.columns
    for index, name in enumerate(names):
        if name in types:
            words = None if known is None else known.get(name, ())
            columns[index] = as_type(columns[index], types[name], options, pointers(name), errors, words)
    # All at once: each `set_column` copies the list of columns.
    return pa.Table.from_arrays(columns, names, metadata=table.schema.metadata) if columns else table


def cast(
    column: pa.ChunkedArray, type_name: str, options: CellOptions, cells: Cells, known: KnownWords = None
) -> pa.ChunkedArray:
    """Convert a stored column to another type, with errors that name the column and row; see `as_type`.

    A stored column of decimals, booleans or times no longer has the text of its cells, so it can't become
    text: `1.10` and `1.1` would be the same category.

    Args:
        column: One value for each of `cells.rows`, [B].
        type_name: `numeric`, `boolean`, `categorical` or `datetime`.
        options: Formats of texts.
        cells: Receives an error for each cell that can't be converted; it becomes null.
        known: See `KnownWords`.
    """
    if type_name == "categorical" and column.type not in (TEXT, INTEGER) and column.null_count < len(column):
        stored = {NUMBER: "numbers", BOOLEAN: "booleans", DATETIME: "times"}[column.type]
        cells.errors.add(
            cells.pointer,
            f"`{cells.name}` was stored as {stored}, which does not keep the text of its cells; upload the "
            f"data again with `types={cells.name}:categorical`.",
        )
        return pa.chunked_array([pa.nulls(len(column), TEXT)])
    found = ErrorCollector()
    # The pointer of an error is its position in `column`.
    converted = as_type(column, type_name, options, str, found, known)
    for error in found.listed:
        row = int(cells.rows[int(error.pointer)])
        cells.errors.add(cells.pointer_to_row(row), f"`{cells.name}` in row {row}: {error.detail}")
    cells.errors.add_unlisted(found.count - len(found.listed))
    return converted
