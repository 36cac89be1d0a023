"""Columns of text: parsing as numbers, booleans and times, and inference of their type."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.sources import cell_texts
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    DATETIME,
    INTEGER,
    NUMBER,
    TEXT,
    Column,
    SentValue,
    add_cell_errors,
    check_finite,
    null_unless,
)
from service.datasets.sources.text_hints import TextHint, explain_texts
from service.datasets.validation import ErrorCollector, RowPointer
from service.specs.reading import CellOptions


def parse_text(
    texts: pa.ChunkedArray,
    arrow_type: pa.DataType,
    options: CellOptions,
    pointer_to_row: RowPointer,
    errors: ErrorCollector,
    has_options: bool = True,
) -> pa.ChunkedArray:
    """Parse a column of text.

    Args:
        texts: large_string, [rows].
        arrow_type: `NUMBER`, `BOOLEAN` or `DATETIME`.
        options: Formats of the texts.
        pointer_to_row: Returns the pointer to a row's cell.
        errors: Receives an error for each cell that can't be parsed, which becomes null.
        has_options: Whether the sender may choose other options, which the error then names.

    Returns:
        The values, [rows]. Numbers are int64 if all are integers in its range, otherwise float64.
    """
    present = cell_texts.trimmed(texts, options)
    values = _PARSERS[arrow_type](present, options)
    bad = pc.and_(present.is_valid(), values.is_null())
    if pc.any(bad).as_py():
        hint = explain_texts(texts, options) if has_options else None
        problem = _problem(arrow_type, hint, options)
        add_cell_errors(bad, _value_of(texts), problem, pointer_to_row, errors)
    if arrow_type != NUMBER:
        return values
    return null_numbers(check_finite(values, pointer_to_row, errors, _value_of(texts)), options.missing)


def null_numbers(numbers: Column, words: Collection[str]) -> Column:
    """Replace numbers by null that equal one of the words for a missing value, in value."""
    if not words or numbers.type not in (INTEGER, NUMBER):
        return numbers
    if values := cell_texts.numbers_of(words):
        is_missing = pc.is_in(numbers.cast(NUMBER, safe=False), pa.array(values, NUMBER))
        return null_unless(pc.invert(is_missing), numbers)
    return numbers


def _to_numbers(present: Column, options: CellOptions) -> Column:
    plain = cell_texts.plain_numbers(present, options)
    plain = null_unless(cell_texts.are_numbers(plain), plain)
    if pc.all(cell_texts.are_integers(plain)).as_py() and cell_texts.fit_int64(plain):
        # Arrow's parser of integers refuses a plus sign.
        return pc.replace_substring_regex(plain, r"^\+", "").cast(INTEGER)
    return plain.cast(NUMBER)


_PARSERS: Mapping[pa.DataType, Callable[[Column, CellOptions], Column]] = {
    NUMBER: _to_numbers,
    BOOLEAN: lambda present, options: cell_texts.to_booleans(present),
    DATETIME: cell_texts.to_times,
}


def _problem(arrow_type: pa.DataType, hint: TextHint | None, options: CellOptions) -> str:
    """Return what is wrong with a text that can't be parsed, as a predicate, and the option that reads it."""
    if arrow_type == BOOLEAN:
        return "can't be read as a boolean; send true or false."
    remedy = ""
    if hint is not None and hint.query and ARROW_TYPES[hint.type_name] == arrow_type:
        remedy = (
            f" The column looks like {hint.looks}: upload with `{hint.query}`, or add "
            f'`"reading": {{{hint.fields}}}` to `data`.'
        )
    if arrow_type == NUMBER:
        return f"can't be read as a number.{remedy}"
    formats = "".join(f", or `{pattern}`" for pattern in options.dates)
    return f"can't be read as a time; send 2026-11-23 or 2026-11-23T18:30:00Z{formats}.{remedy}"


def _value_of(column: pa.ChunkedArray) -> SentValue:
    return lambda row: column[row].as_py()


def _are_plain_numbers(present: Column, options: CellOptions) -> Column:
    """Return a mask of the texts that are numbers and would lose nothing as numbers, bool [rows]."""
    plain = cell_texts.plain_numbers(present, options)
    return pc.and_(cell_texts.are_numbers(plain), pc.invert(cell_texts.are_padded(plain)))


# For each type, a mask of the trimmed texts that can't mean anything else. `yes` and `1` are booleans only
# where the client declares the column as boolean, and `007` is a number only where it is declared so.
_MATCHERS: Mapping[pa.DataType, Callable[[Column, CellOptions], Column]] = {
    NUMBER: _are_plain_numbers,
    BOOLEAN: lambda present, options: cell_texts.are_booleans(present),
    DATETIME: lambda present, options: cell_texts.to_times(present, options).is_valid(),
}


def infer_text_type(texts: pa.ChunkedArray, options: CellOptions) -> pa.DataType | None:
    """Return the type that all texts have.

    Args:
        texts: large_string, [rows].
        options: Formats of the texts. Declared formats of dates are tried before numbers.

    Returns:
        `INTEGER` for integers in the range of int64, `NUMBER` for other numbers, `BOOLEAN`, `DATETIME`;
        `TEXT` for integers with leading zeros or beyond int64, and if the texts have no type in common; None
        if all are missing.
    """
    present = cell_texts.trimmed(texts, options).drop_null()
    if not len(present):
        return None
    matchers = [*_MATCHERS.items()]
    for arrow_type, matches in reversed(matchers) if options.dates else matchers:
        if pc.all(matches(present, options)).as_py():
            return _number_type(present, options) if arrow_type == NUMBER else arrow_type
    return TEXT


def infer_kept_type(column: pa.ChunkedArray, options: CellOptions) -> pa.DataType | None:
    """Return the type of a column from a format that distinguishes numbers from text.

    Its texts are numbers only if the options declare something about numbers.

    Args:
        column: Of the column types, [rows].
        options: Formats of the texts.

    Returns:
        `DATETIME` for texts that are all dates or times; None if all cells are missing; otherwise the
        column's own type.
    """
    if column.null_count == len(column):
        return None
    if column.type != TEXT:
        return column.type
    present = cell_texts.trimmed(column, options).drop_null()
    if not len(present):
        return None
    for arrow_type in (DATETIME, NUMBER) if options.reads_texts_as_numbers else (DATETIME,):
        matches = _MATCHERS[arrow_type]
        if (
            pc.all(matches(present.slice(0, 1), options)).as_py()
            and pc.all(matches(present, options)).as_py()
        ):
            return arrow_type
    return TEXT


def _number_type(present: Column, options: CellOptions) -> pa.DataType:
    plain = cell_texts.plain_numbers(present, options)
    if not pc.all(cell_texts.are_integers(plain)).as_py():
        return NUMBER
    return INTEGER if cell_texts.fit_int64(plain) else TEXT


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


# Of a column of numbers, cells with leading zeros are no mismatches.
_LENIENT_MATCHERS: Mapping[pa.DataType, Callable[[Column, CellOptions], Column]] = {
    **_MATCHERS,
    NUMBER: lambda present, options: cell_texts.are_numbers(cell_texts.plain_numbers(present, options)),
}


def find_type_mismatches(
    column: pa.ChunkedArray, sample: pa.ChunkedArray, options: CellOptions
) -> TypeMismatches | None:
    """Find the cells that keep a column of text from having another type.

    Args:
        column: large_string, [rows]; read chunk by chunk.
        sample: Some rows of the column. The whole column is read only if more than half of the sample has
            one other type.
        options: Formats of the texts.

    Returns:
        The cells, if they are less than half of the column's values; otherwise None.
    """
    majority = _majority_type(sample, options)
    if majority is None:
        return None
    mismatches, first_row = [], 0
    for chunk in column.chunks:
        present = cell_texts.trimmed(chunk, options)
        bad = pc.and_(present.is_valid(), pc.invert(_LENIENT_MATCHERS[majority](present, options)))
        mismatches.append(first_row + np.flatnonzero(bad.fill_null(False).to_numpy(zero_copy_only=False)))
        first_row += len(chunk)
    rows = np.concatenate(mismatches)
    return TypeMismatches(majority, rows) if 0 < 2 * len(rows) < len(column) - column.null_count else None


def _majority_type(texts: pa.ChunkedArray, options: CellOptions) -> pa.DataType | None:
    """Return the type other than text that more than half of the texts have."""
    present = cell_texts.trimmed(texts, options).drop_null()
    for arrow_type, matches in _LENIENT_MATCHERS.items():
        if 2 * (pc.sum(matches(present, options)).as_py() or 0) > len(present):
            return arrow_type
    return None
