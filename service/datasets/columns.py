"""One column of a table: Python values or CSV cells as an Arrow array of numbers, booleans or text."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.mistakes import Mistakes, shown

NUMBER = pa.float64()
BOOLEAN = pa.bool_()
TEXT = pa.large_string()
DATETIME = pa.timestamp("us")

COLUMN_TYPES: dict[pa.DataType, str] = {
    NUMBER: "numeric",
    BOOLEAN: "boolean",
    TEXT: "categorical",
    DATETIME: "datetime",
}
_BY_NAME = {name: kind for kind, name in COLUMN_TYPES.items()}


def as_type(
    column: pa.ChunkedArray, kind: str, name: str, pointer: str, mistakes: Mistakes
) -> pa.ChunkedArray:
    """A column read as another type; cells that can't be are noted.

    Args:
        column: of any of `COLUMN_TYPES`.
        kind: `numeric`, `boolean`, `categorical` or `datetime`.
        name: the column's.
        pointer: its place in the request.
        mistakes: where they are noted.
    """
    wanted = _BY_NAME[kind]
    if column.type == wanted:
        return column
    if column.type != TEXT:
        return column.cast(wanted)
    cells = []
    for row, text in enumerate(column.to_pylist()):
        try:
            cells.append(None if text is None else pa.scalar(text, TEXT).cast(wanted).as_py())
        except pa.ArrowInvalid:
            mistakes.add(pointer, f"`{name}` in row {row} is {shown(text)}, which is not {kind}.")
            cells.append(None)
    return pa.chunked_array([pa.array(cells, wanted)])


Place = Callable[[int], str]
"""The pointer of the cell in a row."""

_KINDS: dict[type, str] = {int: "numbers", float: "numbers", bool: "booleans", str: "strings"}
_TOO_LARGE = "is beyond a double's range, ±1.8e308."
_LONGEST_NAME = 256

_MISSING_CELLS = pa.array(["", "na", "n/a", "nan", "null"], TEXT)
_BOOLEAN_CELLS = pa.array(["false", "true"], TEXT)


def check_name(name: str, pointer: str, mistakes: Mistakes) -> None:
    """Note what keeps `name` from naming a column or an input."""
    if not 0 < len(name) <= _LONGEST_NAME:
        mistakes.add(pointer, f"A name has 1 to {_LONGEST_NAME} characters; this one has {len(name)}.")
    elif not _is_unicode(name):
        mistakes.add(pointer, "The name holds half of a surrogate pair, which is no character.")


def from_values(values: Sequence[Any], place: Place, mistakes: Mistakes) -> pa.Array:
    """JSON values as one column; what can't be read is noted in `mistakes` and null in the column.

    Args:
        values: numbers, booleans or strings, one kind only; None where a value is missing.
        place: the pointer of a row's cell.
        mistakes: where bad cells are noted.
    """
    kinds = set(map(type, values)) - {NoneType}
    if kinds <= {int, float}:
        return _from_numbers(values, place, mistakes)
    if kinds == {bool}:
        return pa.array(values, BOOLEAN)
    if kinds == {str}:
        return _from_strings(values, place, mistakes)
    _note_mixed(values, place, mistakes)
    return pa.nulls(len(values), NUMBER)


def _from_numbers(values: Sequence[Any], place: Place, mistakes: Mistakes) -> pa.Array:
    try:
        column = pa.array(values, NUMBER)
    except pa.ArrowInvalid:  # Arrow takes no integer that a double rounds; a client may send one
        column = pa.array([_double(value) for value in values], NUMBER)
    _note_infinite(column, values.__getitem__, place, mistakes)
    return column


def _double(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf")


def _from_strings(values: Sequence[Any], place: Place, mistakes: Mistakes) -> pa.Array:
    try:
        return pa.array(values, TEXT)
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            if value is not None and not _is_unicode(value):
                mistakes.add(
                    place(row), f"{shown(value)} holds half of a surrogate pair, which is no character."
                )
        return pa.nulls(len(values), TEXT)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _note_mixed(values: Sequence[Any], place: Place, mistakes: Mistakes) -> None:
    """Note each cell that is not of the column's most frequent kind."""
    counts = Counter(_KINDS[type(value)] for value in values if type(value) in _KINDS)
    kind = counts.most_common(1)[0][0] if counts else "numbers, booleans or strings"
    for row, value in enumerate(values):
        if value is not None and _KINDS.get(type(value)) != kind:
            mistakes.add(place(row), f"{shown(value)} stands in a column of {kind}.")


def _note_infinite(column: pa.Array, cell: Callable[[int], object], place: Place, mistakes: Mistakes) -> None:
    finite = pc.is_finite(column)
    if pc.all(finite).as_py() is False:
        for row in np.flatnonzero(~finite.fill_null(True).to_numpy(zero_copy_only=False)).tolist():
            mistakes.add(place(row), f"{shown(cell(row))} {_TOO_LARGE}")


def from_cells(cells: pa.Array, place: Place, mistakes: Mistakes) -> pa.Array:
    """The cells of a CSV column: numbers if all are, else booleans if all are, else text.

    In a column of numbers or booleans, empty cells, `NA`, `N/A`, `NaN` and `null` are missing values
    in any case; in text only an empty cell without quotes is.

    Args:
        cells: large_string [rows]; null where the cell is empty.
        place: the pointer of a row's cell.
        mistakes: where bad cells are noted.
    """
    trimmed = pc.utf8_trim_whitespace(cells)
    folded = pc.utf8_lower(trimmed)
    missing = pc.is_in(folded, _MISSING_CELLS)
    present = pc.if_else(missing, pa.scalar(None, TEXT), folded)
    try:
        column = present.cast(NUMBER)
    except pa.ArrowInvalid:
        if pc.all(pc.is_in(present.drop_null(), _BOOLEAN_CELLS)).as_py():
            return pc.equal(present, "true")
        return cells
    _note_infinite(column, lambda row: cells[row].as_py(), place, mistakes)
    return column


def stray_texts(column: pa.ChunkedArray) -> list[tuple[int, str]]:
    """The (row, text) that keep a column of text from being one of numbers, if they are the smaller part."""
    texts = column.to_pylist()
    strays = [(row, text) for row, text in enumerate(texts) if text is not None and not _is_number(text)]
    return strays if 2 * len(strays) < len(texts) - column.null_count else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
