"""The column types of a table, and columns made of JSON values or Arrow arrays."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.validation import SHOWN_ROWS, ErrorCollector, RowPointer, quote_name, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean, list_names
from service.specs.transforms import MAX_COLUMNS

NUMBER = pa.float64()
INTEGER = pa.int64()  # also `numeric`; a float64 would not keep integers beyond 2**53
BOOLEAN = pa.bool_()
TEXT = pa.large_string()
DATETIME = pa.timestamp("us")  # in UTC

COLUMN_TYPES: Mapping[pa.DataType, str] = {
    NUMBER: "numeric",
    INTEGER: "numeric",
    BOOLEAN: "boolean",
    TEXT: "categorical",
    DATETIME: "datetime",
}
ARROW_TYPES: Mapping[str, pa.DataType] = {
    "numeric": NUMBER,
    "boolean": BOOLEAN,
    "categorical": TEXT,
    "datetime": DATETIME,
}

Column: TypeAlias = pa.Array | pa.ChunkedArray

SentValue = Callable[[int], object]
"""Maps a row number to the value of its cell as the client sent it."""

_MAX_NAME_CHARACTERS = 256
_JSON_TYPES: dict[type, str] = {int: "numbers", float: "numbers", bool: "booleans", str: "strings"}
_OUT_OF_RANGE = (
    "is outside the range of a double (±1.8e308); if it marks a missing value, send null, "
    "or declare this text in `missing`."
)
_UNPAIRED_SURROGATE = "contains an unpaired surrogate, which is not valid Unicode."
# The years that Python's datetime, and with it our JSON, can represent.
_EARLIEST, _LATEST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")


def common_type(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the column type of cells of two types; None, which stands for no cells, if both are None."""
    if one is None or other is None or one == other:
        return one or other
    return NUMBER if {one, other} == {INTEGER, NUMBER} else TEXT


def check_name(name: str, pointer: str, errors: ErrorCollector) -> None:
    """Check that `name` is valid for a column or an input: 1 to 256 characters of valid Unicode."""
    if not 0 < len(name) <= _MAX_NAME_CHARACTERS:
        errors.add(pointer, f"A name has 1 to {_MAX_NAME_CHARACTERS} characters; this one has {len(name)}.")
    elif not _is_unicode(name):
        errors.add(pointer, f"The name {_UNPAIRED_SURROGATE}")


def check_column_count(names: Collection[str], pointer: str, errors: ErrorCollector) -> None:
    """Fail if there are too many columns."""
    if len(names) > MAX_COLUMNS:
        errors.fail(pointer, f"There are {len(names)} columns; at most {MAX_COLUMNS} are supported.")


def check_types(types: Mapping[str, str], names: Sequence[str], pointer: str, errors: ErrorCollector) -> None:
    """Check that each column in `types` exists.

    Args:
        types: Column name → declared type.
        names: Names of the existing columns.
        pointer: Pointer of every error.
        errors: Receives an error for each unknown name.
    """
    known = set(names)
    for name in types:
        if name not in known:
            errors.add(pointer, partial(unknown_column, name, names))


def unknown_column(name: str, columns: Sequence[str], candidates: Sequence[str] | None = None) -> str:
    """Describe an unknown column.

    Args:
        name: The unknown name.
        columns: All columns.
        candidates: Columns to suggest; by default all.
    """
    hint = did_you_mean(name, columns if candidates is None else candidates)
    return f"There is no column {quote_name(name)}" + (hint or f". The columns are {list_names(columns)}.")


@dataclass(frozen=True)
class ColumnPointers:
    """Pointers to the cells of a piece of a column, for data laid out by column.

    Attributes:
        pointer: Pointer to the object of all columns.
        name: Name of the column.
        first_row: Row number, in the whole table, of the first row of the piece.
    """

    pointer: str
    name: str
    first_row: int = 0

    def __call__(self, row: int) -> str:
        """Return the pointer to the cell in a row of the piece."""
        return pointer_to(self.pointer, self.name, self.first_row + row)


@dataclass(frozen=True)
class RowPointers(ColumnPointers):
    """Pointers to the cells of a piece of a column, for data laid out by row."""

    def __call__(self, row: int) -> str:
        """Return the pointer to the cell in a row of the piece."""
        return pointer_to(self.pointer, self.first_row + row, self.name)


def _add_rows(
    rows: Sequence[int],
    count: int,
    detail: str,
    kind: str,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
) -> None:
    """Add one error for several rows of a piece of a column.

    Args:
        rows: The first of the rows, at least one.
        count: Number of all rows with the error.
        detail: What is wrong with the first one.
        kind: What is wrong, equal for the same error in another piece.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives the error.
    """
    first_row, key = 0, (pointer_to_row(rows[0]), kind)
    if isinstance(pointer_to_row, ColumnPointers):
        first_row, key = pointer_to_row.first_row, (pointer_to_row.name, kind)
    shown = [first_row + row for row in rows[: SHOWN_ROWS + 1]]
    errors.add_rows(pointer_to_row(rows[0]), detail, shown, count, key)


def from_values(
    values: Sequence[Any],
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    counts: Counter[type] | None = None,
) -> pa.Array:
    """Convert JSON values to a column.

    Args:
        values: Numbers, booleans or strings, all of one type; None where a value is missing.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error for each cell that can't be converted.
        counts: Number of values of each type in the whole column, if these are a piece of it.

    Returns:
        int64, float64, bool or large_string, [rows]; null where a value is missing or can't be converted.
        Integers beyond int64 become text, which keeps their digits.
    """
    counts = Counter(map(type, values)) if counts is None else counts
    types = counts.keys() - {NoneType}
    if types == {int}:
        return _from_integers(values)
    if types <= {int, float}:
        return _from_numbers(values, pointer_to_row, errors)
    if types == {bool}:
        return pa.array(values, BOOLEAN)
    if types == {str}:
        return _from_strings(values, pointer_to_row, errors)
    _add_type_errors(values, counts, pointer_to_row, errors)
    return pa.nulls(len(values), NUMBER)


def _from_integers(values: Sequence[int | None]) -> pa.Array:
    try:
        return pa.array(values, INTEGER)
    except OverflowError:
        return pa.array([None if value is None else str(value) for value in values], TEXT)


def _from_numbers(values: Sequence[Any], pointer_to_row: RowPointer, errors: ErrorCollector) -> pa.Array:
    try:
        column = pa.array(values, NUMBER)
    except pa.ArrowInvalid:  # Arrow refuses integers that a double can't hold exactly; JSON allows them
        column = pa.array([_to_double(value) for value in values], NUMBER)
    return check_finite(column, pointer_to_row, errors, values.__getitem__)


def _to_double(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:  # an integer; `check_finite` reports it as infinite
        return float("inf")


def _from_strings(values: Sequence[Any], pointer_to_row: RowPointer, errors: ErrorCollector) -> pa.Array:
    try:
        return pa.array(values, TEXT)
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            if value is not None and not _is_unicode(value):
                errors.add(pointer_to_row(row), f"{quote_value(value)} {_UNPAIRED_SURROGATE}")
        return pa.nulls(len(values), TEXT)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_type_errors(
    values: Sequence[Any], types: Counter[type], pointer_to_row: RowPointer, errors: ErrorCollector
) -> None:
    """Add an error for the cells that are not of the column's most frequent type."""
    counts = Counter[str]()
    for each, count in types.items():
        if each in _JSON_TYPES:
            counts[_JSON_TYPES[each]] += count
    usual = counts.most_common(1)[0][0] if counts else "numbers, booleans or strings"
    bad = [row for row, value in enumerate(values) if _is_other(value, usual)]
    if bad:  # a piece of a column may have none
        detail = f"{quote_value(values[bad[0]])} is not allowed in a column of {usual}."
        _add_rows(bad, len(bad), detail, "type", pointer_to_row, errors)


def _is_other(value: Any, usual: str) -> bool:
    return value is not None and _JSON_TYPES.get(type(value)) != usual


def is_text(arrow_type: pa.DataType) -> bool:
    """Return whether an Arrow type holds texts, directly or in a dictionary."""
    value_type = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    return bool(pa.types.is_string(value_type) or value_type == TEXT or pa.types.is_string_view(value_type))


def is_large_integer(arrow_type: pa.DataType) -> bool:
    """Return whether an Arrow type holds integers that may be beyond int64."""
    return bool(pa.types.is_uint64(arrow_type) or (pa.types.is_decimal(arrow_type) and arrow_type.scale == 0))


def is_supported(arrow_type: pa.DataType) -> bool:
    """Return whether `from_arrow` can convert columns of an Arrow type."""
    value_type = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    return any(matches(value_type) for matches, _ in _CONVERTERS)


def from_arrow(
    column: pa.ChunkedArray,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    sent_value: SentValue | None = None,
) -> pa.ChunkedArray:
    """Convert an Arrow column to one of the column types.

    Integers become int64, or text if they are beyond its range, which keeps their digits. Decimals and floats
    become float64, dates and times microseconds in UTC. NaN becomes null; infinite numbers and times outside
    the years 1 to 9999 are errors.

    Args:
        column: A column of a type for which `is_supported` is true, [rows].
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error for each bad cell, which becomes null.
        sent_value: Returns a cell as the client sent it; default: the column's own value.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_large_integer(column.type):
        return _convert_integers(column, pointer_to_row, errors, sent_value)
    convert = next(convert for matches, convert in _CONVERTERS if matches(column.type))
    return convert(column, pointer_to_row, errors, sent_value)


def _convert_numbers(
    column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector, sent_value: SentValue | None
) -> pa.ChunkedArray:
    return check_finite(column.cast(NUMBER, safe=False), pointer_to_row, errors, sent_value)


def _convert_integers(
    column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector, sent_value: SentValue | None
) -> pa.ChunkedArray:
    try:
        return column.cast(INTEGER)
    except pa.ArrowInvalid:  # uint64 beyond int64
        return column.cast(TEXT)


def _convert_times(
    column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector, sent_value: SentValue | None
) -> pa.ChunkedArray:
    has_nanoseconds = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    try:
        times = column.cast(DATETIME, safe=not has_nanoseconds)  # nanoseconds are truncated
    except pa.ArrowInvalid:  # some value overflows 64 bits of microseconds
        in_calendar = is_in_calendar(column.cast(pa.timestamp("s"), safe=False))
        times = null_unless(in_calendar, column).cast(DATETIME)
    valid = is_in_calendar(times).fill_null(False)
    bad = pc.and_(column.is_valid(), pc.invert(valid))
    sent_value = sent_value or (lambda row: f"{column[row].value} as {column.type}")
    add_cell_errors(bad, sent_value, "is outside the years 1 to 9999.", pointer_to_row, errors)
    return null_unless(valid, times)


def _convert_strings(
    column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector, sent_value: SentValue | None
) -> pa.ChunkedArray:
    return column.cast(TEXT)


def _keep(
    column: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector, sent_value: SentValue | None
) -> pa.ChunkedArray:
    return column


_Converter = Callable[[pa.ChunkedArray, RowPointer, ErrorCollector, SentValue | None], pa.ChunkedArray]
_CONVERTERS: Sequence[tuple[Callable[[pa.DataType], bool], _Converter]] = (
    (pa.types.is_floating, _convert_numbers),
    (pa.types.is_integer, _convert_integers),
    (pa.types.is_decimal, _convert_numbers),
    (pa.types.is_null, _convert_numbers),
    (pa.types.is_boolean, _keep),
    (pa.types.is_large_string, _keep),
    (pa.types.is_string, _convert_strings),
    (pa.types.is_string_view, _convert_strings),
    (pa.types.is_date, _convert_times),
    (pa.types.is_timestamp, _convert_times),
)


def check_finite(
    numbers: Column,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    sent_value: SentValue | None = None,
) -> Column:
    """Replace NaN by null, which is a missing value, and report infinite numbers.

    Args:
        numbers: float64 or int64, [rows].
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error for each infinite number, which becomes null.
        sent_value: Returns a cell as the client sent it; default: the number itself.
    """
    valid = pc.is_finite(numbers)
    if pc.all(valid).as_py() is not False:  # None: all values are null
        return numbers
    sent_value = sent_value or (lambda row: numbers[row].as_py())
    add_cell_errors(pc.is_inf(numbers), sent_value, _OUT_OF_RANGE, pointer_to_row, errors)
    return null_unless(valid, numbers)


def add_cell_errors(
    bad: Column,
    sent_value: SentValue,
    problem: str,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
) -> None:
    """Add one error for all bad cells, at the first of them, with the number of the others.

    Args:
        bad: Mask of the bad cells, bool [rows]; null counts as false.
        sent_value: Returns a cell as the client sent it.
        problem: What is wrong, as the predicate of a sentence about the value.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives the errors.
    """
    rows = np.flatnonzero(bad.fill_null(False).to_numpy(zero_copy_only=False))
    if len(rows):
        shown = rows[: SHOWN_ROWS + 1].tolist()
        detail = f"{quote_value(sent_value(shown[0]))} {problem}"
        _add_rows(shown, len(rows), detail, problem, pointer_to_row, errors)


def null_unless(condition: Column, values: Column) -> Column:
    """Return the values where a condition is true, null elsewhere."""
    return pc.if_else(condition, values, pa.scalar(None, values.type))


def is_in_calendar(times: Column) -> Column:
    """Return a mask of the times in the years 1 to 9999, bool [rows]."""
    return pc.and_(
        pc.greater_equal(times, pa.scalar(_EARLIEST, DATETIME).cast(times.type, safe=False)),
        pc.less_equal(times, pa.scalar(_LATEST, DATETIME).cast(times.type, safe=False)),
    )
