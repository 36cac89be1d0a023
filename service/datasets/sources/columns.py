"""One column of a table: JSON values, Arrow arrays or text as numbers, booleans, text or times."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.validation import MOST_LISTED, ErrorCollector, shown
from service.errors import pointer_to
from service.specs.base import did_you_mean

NUMBER = pa.float64()
BOOLEAN = pa.bool_()
TEXT = pa.large_string()
DATETIME = pa.timestamp("us")  # in UTC

COLUMN_TYPES: Mapping[pa.DataType, str] = {
    NUMBER: "numeric",
    BOOLEAN: "boolean",
    TEXT: "categorical",
    DATETIME: "datetime",
}
ARROW_TYPES: Mapping[str, pa.DataType] = {name: kind for kind, name in COLUMN_TYPES.items()}

Place = Callable[[int], str]
"""The pointer of the cell in a row."""
Cell = Callable[[int], object]
"""What stands in a row, as it was sent."""

MISSING_WORDS = ("", "NA", "N/A", "NaN", "null")
"""Cells of a CSV that mean a missing value, in any usual case."""

_KINDS: dict[type, str] = {int: "numbers", float: "numbers", bool: "booleans", str: "strings"}
_TOO_LARGE = (
    "is beyond a double's range, ±1.8e308: where it means that there is no value, send null, "
    "or say `?missing=inf` of a CSV."
)
MOST_COLUMNS: Final = 10_000
"""Of a table, however it is sent."""
_LONGEST_NAME = 256
_LARGEST_WHOLE = 2**53  # what a double holds exactly

_MISSING = pa.array([word.lower() for word in MISSING_WORDS], TEXT)
_TRUE, _FALSE = pa.array(["true", "yes", "1"], TEXT), pa.array(["false", "no", "0"], TEXT)
_PLAIN_BOOLEANS = pa.array(["true", "false"], TEXT)
_NUMBER_PATTERN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_ZONE = r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
_DATETIME_PATTERN = f"^{_DATE}([T ]{_TIME}{_ZONE}?)?$"
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
# Python, and with it our JSON, knows the years 1 to 9999.
_EARLIEST, _LATEST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")


def check_name(name: str, pointer: str, errors: ErrorCollector) -> None:
    """Note what keeps `name` from naming a column or an input."""
    if not 0 < len(name) <= _LONGEST_NAME:
        errors.add(pointer, f"A name has 1 to {_LONGEST_NAME} characters; this one has {len(name)}.")
    elif not _is_unicode(name):
        errors.add(pointer, "The name holds half of a surrogate pair, which is no character.")


def check_types(types: Mapping[str, str], names: Sequence[str], pointer: str, errors: ErrorCollector) -> None:
    """Note each name in `types` that no column has."""
    known = set(names)
    for name in types:
        if name not in known:
            hint = did_you_mean(name, names) or f". The columns are {', '.join(names[:20])}."
            errors.add(pointer, f"There is no column `{name}`{hint}")


def from_values(values: Sequence[Any], place: Place, errors: ErrorCollector) -> pa.Array:
    """JSON values as one column; what can't be read is noted in `errors` and null in the column.

    Args:
        values: numbers, booleans or strings, one kind only; None where a value is missing.
        place: the pointer of a row's cell.
        errors: where bad cells are noted.
    """
    kinds = set(map(type, values)) - {NoneType}
    if kinds <= {int, float}:
        return _from_numbers(values, place, errors)
    if kinds == {bool}:
        return pa.array(values, BOOLEAN)
    if kinds == {str}:
        return _from_strings(values, place, errors)
    _note_mixed(values, place, errors)
    return pa.nulls(len(values), NUMBER)


def _from_numbers(values: Sequence[Any], place: Place, errors: ErrorCollector) -> pa.Array:
    try:
        column = pa.array(values, NUMBER)
    except pa.ArrowInvalid:  # Arrow takes no integer that a double rounds; a client may send one
        column = pa.array([_double(value) for value in values], NUMBER)
    return finite(column, place, errors, values.__getitem__)


def _double(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf")


def _from_strings(values: Sequence[Any], place: Place, errors: ErrorCollector) -> pa.Array:
    try:
        return pa.array(values, TEXT)
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            if value is not None and not _is_unicode(value):
                errors.add(
                    place(row), f"{shown(value)} holds half of a surrogate pair, which is no character."
                )
        return pa.nulls(len(values), TEXT)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _note_mixed(values: Sequence[Any], place: Place, errors: ErrorCollector) -> None:
    """Note each cell that is not of the column's most frequent kind."""
    counts = Counter(_KINDS[type(value)] for value in values if type(value) in _KINDS)
    kind = counts.most_common(1)[0][0] if counts else "numbers, booleans or strings"
    for row, value in enumerate(values):
        if value is not None and _KINDS.get(type(value)) != kind:
            errors.add(place(row), f"{shown(value)} stands in a column of {kind}.")


def finite(
    numbers: pa.Array | pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None = None
) -> pa.Array | pa.ChunkedArray:
    """Numbers with null for what is none: NaN is missing, an infinite number is noted.

    Args:
        numbers: float64 [rows].
        place: the pointer of a row's cell.
        errors: where bad cells are noted.
        cell: what stands in a row, where that is not just the number.
    """
    fits = pc.is_finite(numbers)
    if pc.all(fits).as_py() is not False:
        return numbers
    _note(pc.is_inf(numbers), cell or (lambda row: numbers[row].as_py()), _TOO_LARGE, place, errors)
    return _only(fits, numbers)


def _note(
    bad: pa.Array | pa.ChunkedArray, cell: Cell, reason: str, place: Place, errors: ErrorCollector
) -> None:
    """Note the cells where `bad` is true: the first in words, all of them by number."""
    rows = np.flatnonzero(bad.fill_null(False).to_numpy(zero_copy_only=False))
    for row in rows[:MOST_LISTED].tolist():
        errors.add(place(row), f"{shown(cell(row))} {reason}")
    errors.add_unlisted(len(rows[MOST_LISTED:]))


def as_type(column: pa.ChunkedArray, type_name: str, place: Place, errors: ErrorCollector) -> pa.ChunkedArray:
    """A column read as another type; each cell that can't be is noted with its text, and null.

    Args:
        column: float64, bool, large_string or timestamp[us], [rows].
        type_name: `numeric`, `boolean`, `categorical` or `datetime`. Text is trimmed, and empty text and
            the words for a missing value are missing, unless it stays text. A datetime is a date or
            time of ISO 8601; without an offset it is in UTC. A boolean may be 0/1 or yes/no.
        place: the pointer of a row's cell.
        errors: where bad cells are noted.
    """
    wanted = ARROW_TYPES[type_name]
    if column.type == wanted:
        return column
    if (column.type, wanted) == (BOOLEAN, NUMBER):
        return column.cast(NUMBER)
    texts = _as_text(column)
    return texts if wanted == TEXT else _FROM_TEXT[wanted](texts, place, errors)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The cells as a client would write them: whole numbers without a point, times as in RFC 3339."""
    if column.type == DATETIME:
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ").cast(TEXT)
    if column.type != NUMBER:
        return column.cast(TEXT)
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), _LARGEST_WHOLE))
    as_whole = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(TEXT)
    return pc.if_else(whole, as_whole, column.cast(TEXT))


def _numbers_of_text(texts: pa.ChunkedArray, place: Place, errors: ErrorCollector) -> pa.ChunkedArray:
    present = _present(texts)
    fits = are_numbers(present)
    _note(pc.invert(fits), _cell(texts), "can't be read as a number.", place, errors)
    return finite(_only(fits, present).cast(NUMBER), place, errors, _cell(texts))


def _booleans_of_text(texts: pa.ChunkedArray, place: Place, errors: ErrorCollector) -> pa.ChunkedArray:
    present = pc.utf8_lower(_present(texts))
    true = pc.is_in(present, _TRUE)
    fits = pc.or_(true, pc.is_in(present, _FALSE))
    bad = pc.and_(present.is_valid(), pc.invert(fits))
    _note(bad, _cell(texts), "can't be read as a boolean: send true or false.", place, errors)
    return _only(fits, true)


def _datetimes_of_text(texts: pa.ChunkedArray, place: Place, errors: ErrorCollector) -> pa.ChunkedArray:
    present = _present(texts)
    times = _times(present)
    bad = pc.and_(present.is_valid(), times.is_null())
    reason = "can't be read as a time: send 2026-11-23 or 2026-11-23T18:30:00Z."
    _note(bad, _cell(texts), reason, place, errors)
    return times


def _times(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed texts as times in UTC; null for what is no date or time of ISO 8601."""
    candidates = _only(pc.match_substring_regex(texts, _DATETIME_PATTERN), texts)
    candidates = _only(_are_days(candidates), candidates)
    zoned = pc.match_substring_regex(candidates, f":[^ ]*{_ZONE}$")
    times = pc.coalesce(
        _only(zoned, candidates).cast(pa.timestamp("us", "UTC")).cast(DATETIME),
        _only(pc.invert(zoned), candidates).cast(DATETIME),
    )
    return _only(_in_calendar(times), times)


_FROM_TEXT: Mapping[pa.DataType, Callable[[pa.ChunkedArray, Place, ErrorCollector], pa.ChunkedArray]] = {
    NUMBER: _numbers_of_text,
    BOOLEAN: _booleans_of_text,
    DATETIME: _datetimes_of_text,
}


def are_numbers(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Whether trimmed texts spell numbers."""
    return pc.match_substring_regex(texts, _NUMBER_PATTERN)


# Whether trimmed texts are of a type without a doubt; `yes` and `1` are booleans only when declared.
_TELLS: Mapping[pa.DataType, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    NUMBER: are_numbers,
    BOOLEAN: lambda texts: pc.is_in(pc.utf8_lower(texts), _PLAIN_BOOLEANS),
    DATETIME: lambda texts: _times(texts).is_valid(),
}


def told_by_text(texts: pa.ChunkedArray) -> pa.DataType | None:
    """The type that all texts are of, which may be that of any text; None where each is missing."""
    present = _present(texts).drop_null()
    if not len(present):
        return None
    return next((kind for kind, tells in _TELLS.items() if pc.all(tells(present)).as_py()), TEXT)


class Strays(NamedTuple):
    """What keeps a column of text from being of another type.

    Attributes:
        type: what most of its values are.
        rows: int64, where the others are.
    """

    type: pa.DataType
    rows: NDArray[np.int64]

    @property
    def noun(self) -> str:
        """What most values are, as a word for one of them."""
        return {NUMBER: "number", BOOLEAN: "boolean", DATETIME: "time"}[self.type]


def find_strays(column: pa.ChunkedArray, sample: pa.ChunkedArray) -> Strays | None:
    """The values that keep a column of text from being of another type, where they are its smaller part.

    Args:
        column: large_string, [rows]; it is read chunk by chunk.
        sample: rows of it, which tell whether it is worth while.
    """
    kind = _usual_type(sample)
    if kind is None:
        return None
    found, first_row = [], 0
    for chunk in column.chunks:
        present = _present(chunk)
        stray = pc.and_(present.is_valid(), pc.invert(_TELLS[kind](present)))
        found.append(first_row + np.flatnonzero(stray.fill_null(False).to_numpy(zero_copy_only=False)))
        first_row += len(chunk)
    rows = np.concatenate(found)
    return Strays(kind, rows) if 0 < 2 * len(rows) < len(column) - column.null_count else None


def _usual_type(texts: pa.ChunkedArray) -> pa.DataType | None:
    """The type that more than half of the texts are of without a doubt."""
    present = _present(texts).drop_null()
    return next(
        (kind for kind, tells in _TELLS.items() if 2 * (pc.sum(tells(present)).as_py() or 0) > len(present)),
        None,
    )


def _present(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed texts, null where the text says that there is no value."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return _only(pc.invert(pc.is_in(pc.utf8_lower(trimmed), _MISSING)), trimmed)


def _only(where: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values where a condition holds, null elsewhere."""
    return pc.if_else(where, values, pa.scalar(None, values.type))


def _cell(column: pa.ChunkedArray) -> Cell:
    return lambda row: column[row].as_py()


def _are_days(texts: pa.ChunkedArray) -> pa.Array:
    """Whether texts that begin with a date name a day that there is: no 30 February."""
    dates = texts.fill_null("2000-01-01")
    year, month, day = (
        pc.utf8_slice_codeunits(dates, *part).cast(pa.int64()).to_numpy()
        for part in ((0, 4), (5, 7), (8, 10))
    )
    is_leap_year = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return pa.array(day <= _DAYS_OF_MONTH[month] + (is_leap_year & (month == 2)))


def _in_calendar(times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.and_(
        pc.greater_equal(times, pa.scalar(_EARLIEST, DATETIME)),
        pc.less_equal(times, pa.scalar(_LATEST, DATETIME)),
    )


def retype(
    table: pa.Table, types: Mapping[str, str], place: Callable[[str], Place], errors: ErrorCollector
) -> pa.Table:
    """A table with the columns that `types` names read as it says; other names are passed over.

    Args:
        table: columns of our four types.
        types: column name → type.
        place: the pointers of a column's cells, by the column's name.
        errors: where bad cells are noted.
    """
    for index, name in enumerate(table.column_names):
        if name in types:
            column = as_type(table.column(index), types[name], place(name), errors)
            table = table.set_column(index, name, column)
    return table


def is_taken(kind: pa.DataType) -> bool:
    """Whether columns of an Arrow type can be read: see `from_arrow`."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(matches(kind) for matches, _ in _READERS)


def from_arrow(
    column: pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None = None
) -> pa.ChunkedArray:
    """A column of a type that `is_taken` as one of our four types.

    Integers, decimals and floats become float64, dates and times microseconds in UTC. NaN is missing;
    an infinite number and a time beyond the years 1 to 9999 are noted.

    Args:
        column: [rows].
        place: the pointer of a row's cell.
        errors: where bad cells are noted.
        cell: what stands in a row, where the column doesn't say it.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    reader = next(reader for matches, reader in _READERS if matches(column.type))
    return reader(column, place, errors, cell)


def _numbers_of_arrow(
    column: pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None
) -> pa.ChunkedArray:
    return finite(column.cast(NUMBER, safe=False), place, errors, cell)


def _datetimes_of_arrow(
    column: pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None
) -> pa.ChunkedArray:
    finer = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    try:
        times = column.cast(DATETIME, safe=not finer)  # what is finer than a microsecond is cut off
    except pa.ArrowInvalid:
        times = pa.chunked_array([pa.nulls(len(column), DATETIME)])
    fits = _in_calendar(times).fill_null(False)
    bad = pc.and_(column.is_valid(), pc.invert(fits))
    cell = cell or (lambda row: f"{column[row].value} as {column.type}")
    _note(bad, cell, "lies beyond the years 1 to 9999.", place, errors)
    return _only(fits, times)


def _as_it_is(
    column: pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None
) -> pa.ChunkedArray:
    return column


def _texts_of_arrow(
    column: pa.ChunkedArray, place: Place, errors: ErrorCollector, cell: Cell | None
) -> pa.ChunkedArray:
    return column.cast(TEXT)


_ArrowReader = Callable[[pa.ChunkedArray, Place, ErrorCollector, Cell | None], pa.ChunkedArray]
_READERS: Sequence[tuple[Callable[[pa.DataType], bool], _ArrowReader]] = (
    (pa.types.is_floating, _numbers_of_arrow),
    (pa.types.is_integer, _numbers_of_arrow),
    (pa.types.is_decimal, _numbers_of_arrow),
    (pa.types.is_null, _numbers_of_arrow),
    (pa.types.is_boolean, _as_it_is),
    (pa.types.is_large_string, _as_it_is),
    (pa.types.is_string, _texts_of_arrow),
    (pa.types.is_string_view, _texts_of_arrow),
    (pa.types.is_date, _datetimes_of_arrow),
    (pa.types.is_timestamp, _datetimes_of_arrow),
)


def cell_of_column(pointer: str, name: str, first_row: int = 0) -> Place:
    """The pointers of a column's cells below that of all columns, counted from `first_row`."""
    return lambda row: pointer_to(pointer, name, first_row + row)
