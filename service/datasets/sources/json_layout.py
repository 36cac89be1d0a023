"""Where a JSON document has the columns and cells of a table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from service.datasets.validation import quote_value
from service.errors import pointer_to

SPLIT: Final = "dataframe_split"


class Layout(NamedTuple):
    """Pointers into a document.

    Attributes:
        container: Pointer of the object or list that contains columns or rows.
        column: Returns the pointer of a column.
        cell: Returns the pointer of a cell, by column and row.
    """

    container: str
    column: Callable[[str], str]
    cell: Callable[[str, int], str]


class JsonColumns(NamedTuple):
    """The columns of a table in a document.

    Attributes:
        names: The names of all columns, in order.
        values: The values of the columns that are read, [rows] each.
        rows: Number of rows.
        layout: Where they are.
    """

    names: Sequence[str]
    values: Mapping[str, Sequence[Any]]
    rows: int
    layout: Layout


def layout_of(document: Any, pointer: str = "#") -> Layout:
    """Return the layout of a document that `read_json` reads as a table."""
    if isinstance(document, list):
        return layout_of_rows(pointer)
    if "rows" in document:
        return layout_of_rows(pointer_to(pointer, "rows"))
    if SPLIT in document:
        return layout_of_split(split_names(document[SPLIT]["columns"]), pointer_to(pointer, SPLIT))
    return layout_of_columns(pointer_to(pointer, "columns"))


def layout_of_columns(pointer: str) -> Layout:
    """Return the layout of an object of columns."""
    return Layout(pointer, partial(pointer_to, pointer), partial(pointer_to, pointer))


def layout_of_rows(pointer: str) -> Layout:
    """Return the layout of a list of rows."""
    return Layout(pointer, lambda name: pointer, lambda name, row: pointer_to(pointer, row, name))


def layout_of_split(names: Sequence[str], pointer: str) -> Layout:
    """Return the layout of pandas' split form, in which `names` are the columns."""
    positions = {name: position for position, name in enumerate(names)}
    return Layout(
        pointer,
        lambda name: pointer_to(pointer, "columns", positions[name]) if name in positions else pointer,
        lambda name, row: pointer_to(pointer, "data", row, positions[name]),
    )


def split_names(columns: Sequence[Any]) -> list[Any]:
    """Return the names of columns in pandas' split form; integers, as pandas numbers columns, become text."""
    return [str(name) if type(name) is int else name for name in columns]


def column_names(document: Mapping[str, Any]) -> list[str]:
    """Return the column names of a table in a document that may have errors; empty where there are none."""
    names, rows = document.get("columns", ()), document.get("rows")
    if isinstance(rows, list):
        names = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
    if isinstance(split := document.get(SPLIT), dict):
        names = split.get("columns")
        names = split_names(names) if isinstance(names, list) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | dict) else []


def describe_value(value: Any) -> str:
    """Describe a value in place of which an object or a list with content was expected."""
    return "an empty one" if value in ([], {}) else quote_value(value)
