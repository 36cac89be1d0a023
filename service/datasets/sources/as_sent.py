"""Columns as they were sent: text stays text, integers stay exact. For ids, which are repeated in answers."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.arrow import read_arrow
from service.datasets.sources.casts import as_text
from service.datasets.sources.cell_texts import GAPS
from service.datasets.sources.columns import NUMBER, ColumnPointers, from_arrow
from service.datasets.sources.csv import CsvTable
from service.datasets.sources.parquet import read_parquet
from service.datasets.validation import ErrorCollector, RowPointer
from service.specs.upload import Format, ReadOptions

Columns = Mapping[str, Sequence[Any]]
"""Values by column name, [rows]: numbers, booleans or strings, None where a value is missing."""

# An integer that is written in the only way in which JSON writes it, below 10^18 and so in 64 bits.
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"

# float64 represents every integer of a smaller magnitude exactly.
_MAX_EXACT = 2**53
_MAX_BITS = 64


def columns_of_file(
    path: Path, name: Format, options: ReadOptions, names: Sequence[str], numeric: Collection[str]
) -> Columns:
    """Read columns of a file.

    Args:
        path: The file, decompressed, in a folder of its own.
        name: Its format, one of those of tables.
        options: How to read the file.
        names: Columns to read, as far as the file has them.
        numeric: Those whose cells in CSV are integers where they are written like one; others are text.

    Raises:
        InvalidRequest: The file can't be read.
    """
    if name == "csv":
        text = options.model_copy(update={"types": dict.fromkeys(names, "categorical")})
        # As for a model, since columns may be missing; and no word of an id means a missing value.
        words = dict.fromkeys(names, (*GAPS, *options.missing))
        reader = CsvTable(path, text, names, known=words)
        table = reader.read(lambda batches: pa.Table.from_batches(list(batches)))
        return {
            column: _with_integers(table[column]) if column in numeric else table[column].to_pylist()
            for column in names
            if column in table.column_names
        }
    container = options.model_copy(update={"types": {}})
    found = (read_parquet if name == "parquet" else read_arrow)(path, container, names).unconverted()
    return columns_of_table(found, found.column_names)


def columns_of_table(table: pa.Table, names: Sequence[str]) -> Columns:
    """Return columns of a table: times as text, and whole numbers as integers, as JSON has them.

    Raises:
        InvalidRequest: Times are outside the years 1 to 9999.
    """
    errors = ErrorCollector()
    columns = {name: _values(table[name], ColumnPointers("#/columns", name), errors) for name in names}
    errors.raise_if_any()
    return columns


def _values(column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type), pointer_to_row, errors)
    if pa.types.is_temporal(kind):
        return list(_times(column, pointer_to_row, errors).to_pylist())
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return [None if number is None else _integer(int(number)) for number in column.to_pylist()]
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(NUMBER, safe=False).to_pylist()
        return [int(x) if x is not None and abs(x) < _MAX_EXACT and x.is_integer() else x for x in numbers]
    return list(column.to_pylist())


def _integer(number: int) -> int | str:
    """Return an integer that JSON can have here, below 64 bits; a longer one is text."""
    return number if number.bit_length() < _MAX_BITS else str(number)


def _times(column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector) -> pa.ChunkedArray:
    """Format times by RFC 3339, with nanoseconds if there are any."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return as_text(column.cast(pa.timestamp("ns")))  # in UTC
    return as_text(from_arrow(column, pointer_to_row, errors))


def _with_integers(column: pa.ChunkedArray) -> list[Any]:
    """Convert the texts that are integers without leading zeros or signs."""
    are_integers = pc.match_substring_regex(column, _INTEGER)
    if pc.all(are_integers).as_py():
        return list(column.cast(pa.int64()).to_pylist())
    cells = zip(column.to_pylist(), are_integers.to_pylist(), strict=True)
    return [int(text) if is_integer else text for text, is_integer in cells]
