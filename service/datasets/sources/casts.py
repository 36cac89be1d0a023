"""Conversion of columns to a declared type."""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import ARROW_TYPES, BOOLEAN, DATETIME, NUMBER, TEXT
from service.datasets.sources.text_columns import parse_text
from service.datasets.validation import Cells, ErrorCollector, RowPointer

_MAX_EXACT_INTEGER = 2**53  # a double represents all integers below it


def as_type(
    column: pa.ChunkedArray, type_name: str, pointer_to_row: RowPointer, errors: ErrorCollector
) -> pa.ChunkedArray:
    """Convert a column to another type.

    Text is trimmed; empty text and the words for a missing value become null, unless the column stays
    text. A datetime is a date or time of ISO 8601; without an offset it is in UTC. A boolean may be written
    as true/false, yes/no or 1/0.

    Args:
        column: float64, bool, large_string or timestamp[us], [rows].
        type_name: `numeric`, `boolean`, `categorical` or `datetime`.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error, with the cell's text, for each cell that can't be converted; it becomes
            null.
    """
    arrow_type = ARROW_TYPES[type_name]
    if column.type == arrow_type:
        return column
    if (column.type, arrow_type) == (BOOLEAN, NUMBER):
        return column.cast(NUMBER)
    texts = _as_text(column)
    return texts if arrow_type == TEXT else parse_text(texts, arrow_type, pointer_to_row, errors)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Format cells as a client would write them: integers without a decimal point, times as in RFC 3339."""
    if column.type == DATETIME:
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ").cast(TEXT)
    if column.type != NUMBER:
        return column.cast(TEXT)
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), _MAX_EXACT_INTEGER))
    integers = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(TEXT)
    return pc.if_else(whole, integers, column.cast(TEXT))


def retype(
    table: pa.Table, types: Mapping[str, str], pointers: Callable[[str], RowPointer], errors: ErrorCollector
) -> pa.Table:
    """Convert the columns of a table to their declared types.

    Args:
        table: Columns of the four types.
        types: Column name → declared type; names that are not in the table are ignored.
        pointers: Returns the pointers to the cells of a column.
        errors: Receives an error for each cell that can't be converted; it becomes null.
    """
    for index, name in enumerate(table.column_names):
        if name in types:
            column = as_type(table.column(index), types[name], pointers(name), errors)
            table = table.set_column(index, name, column)
    return table


def cast(column: pa.ChunkedArray, type_name: str, cells: Cells) -> pa.ChunkedArray:
    """Convert a column to another type, with errors that name the column and row; see `as_type`.

    Args:
        column: One value for each of `cells.rows`, [B].
        type_name: `numeric`, `boolean`, `categorical` or `datetime`.
        cells: Receives an error for each cell that can't be converted; it becomes null.
    """
    found = ErrorCollector()
    converted = as_type(column, type_name, str, found)  # the pointer of an error is its position in `column`
    for error in found.listed:
        row = int(cells.rows[int(error.pointer)])
        cells.errors.add(cells.pointer_to_row(row), f"`{cells.name}` in row {row}: {error.detail}")
    cells.errors.add_unlisted(found.count - len(found.listed))
    return converted
