"""Tables in JSON in pandas' split form, `{"columns": ["x"], "data": [[1], [2]]}`."""

from collections.abc import Collection
from typing import Any

from service.datasets.sources.columns import check_column_count, check_name
from service.datasets.sources.json_layout import (
    JsonColumns,
    describe_value,
    layout_of_split,
    split_names,
)
from service.datasets.validation import SHOWN_ROWS, ErrorCollector, count_of, quote_name, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean

_KEYS = ("columns", "data", "index")


def find_split_columns(
    split: Any, pointer: str, selected: Collection[str] | None, errors: ErrorCollector
) -> JsonColumns:
    """Check a table in the split form; its `index` is not read.

    Args:
        split: The table.
        pointer: Its pointer.
        selected: Names of the columns to read; None: all. Others are not checked.
        errors: Receives the errors.

    Raises:
        InvalidRequest: Names or rows are missing or malformed.
    """
    if not isinstance(split, dict):
        errors.fail(pointer, f"Give an object with `columns` and `data`; found {describe_value(split)}.")
    for key in split.keys() - set(_KEYS):
        hint = did_you_mean(key, _KEYS) or "; give `columns` and `data`."
        errors.add(pointer_to(pointer, key), f"{quote_name(key)} is not a field here{hint}")
    names = _names(split, pointer, errors)
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if selected is None or name in selected:
            name_pointer = pointer_to(pointer, "columns", position)
            check_name(name, name_pointer, errors)
            if name in positions:
                errors.add(name_pointer, f"{quote_name(name)} appears twice; rename one.")
        positions.setdefault(name, position)
    data = _rows(split, len(names), pointer, errors)
    values = {
        name: [row[position] for row in data]
        for name, position in positions.items()
        if selected is None or name in selected
    }
    return JsonColumns(list(positions), values, len(data), layout_of_split(names, pointer))


def _names(split: dict[str, Any], pointer: str, errors: ErrorCollector) -> list[str]:
    """Return the names of the columns; integers become text."""
    sent = split.get("columns")
    names = split_names(sent) if isinstance(sent, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        detail = f"Give `columns` as a list of names, which are strings; found {describe_value(sent)}."
        errors.fail(pointer_to(pointer, "columns") if "columns" in split else pointer, detail)
    check_column_count(names, pointer_to(pointer, "columns"), errors)
    return names


def _rows(split: dict[str, Any], columns: int, pointer: str, errors: ErrorCollector) -> list[Any]:
    """Return the rows, each of which is a list with a value for each column."""
    data, data_pointer = split.get("data"), pointer_to(pointer, "data")
    if not isinstance(data, list) or not data:
        detail = f"Give `data` as a list of rows, each a list of values; found {describe_value(data)}."
        errors.fail(data_pointer if "data" in split else pointer, detail)
    wrong = [n for n, row in enumerate(data) if not isinstance(row, list) or len(row) != columns]
    if wrong:
        row = data[wrong[0]]
        found = count_of(len(row), "value") if isinstance(row, list) else quote_value(row)
        detail = f"A row must be a list of {count_of(columns, 'value')}, one for each column; found {found}."
        errors.add_rows(
            pointer_to(data_pointer, wrong[0]), detail, wrong[: SHOWN_ROWS + 1], len(wrong), detail
        )
        errors.raise_if_any()
    return data
