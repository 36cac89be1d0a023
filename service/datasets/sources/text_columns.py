"""Columns of text: parsing as numbers, booleans and times, and inference of their type."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.sources.columns import (
    BOOLEAN,
    DATETIME,
    NUMBER,
    TEXT,
    SentValue,
    add_cell_errors,
    check_finite,
    is_in_calendar,
    null_unless,
)
from service.datasets.validation import ErrorCollector, RowPointer

MISSING_WORDS = ("", "NA", "N/A", "NaN", "null")
"""Texts that mean a missing value, in lower, upper or mixed case."""

_LOWER_MISSING_WORDS = pa.array([word.lower() for word in MISSING_WORDS], TEXT)
_TRUE, _FALSE = pa.array(["true", "yes", "1"], TEXT), pa.array(["false", "no", "0"], TEXT)
_UNAMBIGUOUS_BOOLEANS = pa.array(["true", "false"], TEXT)
_NUMBER_PATTERN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_ZONE = r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
_DATETIME_PATTERN = f"^{_DATE}([T ]{_TIME}{_ZONE}?)?$"
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def parse_text(
    texts: pa.ChunkedArray, arrow_type: pa.DataType, pointer_to_row: RowPointer, errors: ErrorCollector
) -> pa.ChunkedArray:
    """Parse a column of text.

    Args:
        texts: large_string, [rows].
        arrow_type: `NUMBER`, `BOOLEAN` or `DATETIME`.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error for each cell that can't be parsed, which becomes null.
    """
    return _PARSERS[arrow_type](texts, pointer_to_row, errors)


def _parse_numbers(
    texts: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector
) -> pa.ChunkedArray:
    present = _null_missing(texts)
    valid = are_numbers(present)
    add_cell_errors(pc.invert(valid), _value_of(texts), "can't be read as a number.", pointer_to_row, errors)
    return check_finite(null_unless(valid, present).cast(NUMBER), pointer_to_row, errors, _value_of(texts))


def _parse_booleans(
    texts: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector
) -> pa.ChunkedArray:
    present = pc.utf8_lower(_null_missing(texts))
    true = pc.is_in(present, _TRUE)
    valid = pc.or_(true, pc.is_in(present, _FALSE))
    bad = pc.and_(present.is_valid(), pc.invert(valid))  # `is_in` is false, not null, for a missing value
    problem = "can't be read as a boolean; send true or false."
    add_cell_errors(bad, _value_of(texts), problem, pointer_to_row, errors)
    return null_unless(valid, true)


def _parse_times(
    texts: pa.ChunkedArray, pointer_to_row: RowPointer, errors: ErrorCollector
) -> pa.ChunkedArray:
    present = _null_missing(texts)
    times = _to_times(present)
    bad = pc.and_(present.is_valid(), times.is_null())
    problem = "can't be read as a time; send 2026-11-23 or 2026-11-23T18:30:00Z."
    add_cell_errors(bad, _value_of(texts), problem, pointer_to_row, errors)
    return times


_PARSERS: Mapping[pa.DataType, Callable[[pa.ChunkedArray, RowPointer, ErrorCollector], pa.ChunkedArray]] = {
    NUMBER: _parse_numbers,
    BOOLEAN: _parse_booleans,
    DATETIME: _parse_times,
}


def _value_of(column: pa.ChunkedArray) -> SentValue:
    return lambda row: column[row].as_py()


def _null_missing(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trim texts, and replace those that mean a missing value by null."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return null_unless(pc.invert(pc.is_in(pc.utf8_lower(trimmed), _LOWER_MISSING_WORDS)), trimmed)


def are_numbers(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a mask of the trimmed texts that are decimal numbers, bool [rows]."""
    return pc.match_substring_regex(texts, _NUMBER_PATTERN)


def _to_times(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parse trimmed texts as times in UTC; null for a text that is not a date or time of ISO 8601."""
    candidates = null_unless(pc.match_substring_regex(texts, _DATETIME_PATTERN), texts)
    candidates = null_unless(_have_valid_day(candidates), candidates)
    # Arrow's cast requires that all texts have an offset, or that none has.
    zoned = pc.match_substring_regex(candidates, f":[^ ]*{_ZONE}$")
    times = pc.coalesce(
        null_unless(zoned, candidates).cast(pa.timestamp("us", "UTC")).cast(DATETIME),
        null_unless(pc.invert(zoned), candidates).cast(DATETIME),
    )
    return null_unless(is_in_calendar(times), times)


def _have_valid_day(texts: pa.ChunkedArray) -> pa.Array:
    """Return a mask of the texts whose date exists (not 30 February); each starts with a date or is null."""
    dates = texts.fill_null("2000-01-01")
    year, month, day = (
        pc.utf8_slice_codeunits(dates, start, stop).cast(pa.int64()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10))
    )
    is_leap_year = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return pa.array(day <= _DAYS_OF_MONTH[month] + (is_leap_year & (month == 2)))


# For each type, a mask of the trimmed texts that can't mean anything else. `yes` and `1` are booleans only
# where the client declares the column as boolean.
_MATCHERS: Mapping[pa.DataType, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    NUMBER: are_numbers,
    BOOLEAN: lambda texts: pc.is_in(pc.utf8_lower(texts), _UNAMBIGUOUS_BOOLEANS),
    DATETIME: lambda texts: _to_times(texts).is_valid(),
}


def infer_text_type(texts: pa.ChunkedArray) -> pa.DataType | None:
    """Return the type that all texts have; `TEXT` if they have none in common, None if all are missing."""
    present = _null_missing(texts).drop_null()
    if not len(present):
        return None
    for arrow_type, matches in _MATCHERS.items():
        if pc.all(matches(present)).as_py():
            return arrow_type
    return TEXT


class TypeMismatches(NamedTuple):
    """The cells that keep a column of text from having another type.

    Attributes:
        type: Type of most cells.
        rows: Row numbers of the other cells, int64 [mismatches].
    """

    type: pa.DataType
    rows: NDArray[np.int64]

    @property
    def noun(self) -> str:
        """The noun for a value of the type."""
        return {NUMBER: "number", BOOLEAN: "boolean", DATETIME: "time"}[self.type]


def find_type_mismatches(column: pa.ChunkedArray, sample: pa.ChunkedArray) -> TypeMismatches | None:
    """Find the cells that keep a column of text from having another type.

    Args:
        column: large_string, [rows]; read chunk by chunk.
        sample: Some rows of the column. The whole column is read only if more than half of the sample has
            one other type.

    Returns:
        The cells, if they are less than half of the column's values; otherwise None.
    """
    majority = _majority_type(sample)
    if majority is None:
        return None
    mismatches, first_row = [], 0
    for chunk in column.chunks:
        present = _null_missing(chunk)
        bad = pc.and_(present.is_valid(), pc.invert(_MATCHERS[majority](present)))
        mismatches.append(first_row + np.flatnonzero(bad.fill_null(False).to_numpy(zero_copy_only=False)))
        first_row += len(chunk)
    rows = np.concatenate(mismatches)
    return TypeMismatches(majority, rows) if 0 < 2 * len(rows) < len(column) - column.null_count else None


def _majority_type(texts: pa.ChunkedArray) -> pa.DataType | None:
    """Return the type other than text that more than half of the texts have."""
    present = _null_missing(texts).drop_null()
    for arrow_type, matches in _MATCHERS.items():
        if 2 * (pc.sum(matches(present)).as_py() or 0) > len(present):
            return arrow_type
    return None
