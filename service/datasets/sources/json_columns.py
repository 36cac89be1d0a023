"""Tables in JSON as an object of columns, `{"columns": {"x": [1, 2]}}`."""

from collections.abc import Collection
from typing import Any

from service.datasets.sources.columns import check_column_count, check_name
from service.datasets.sources.json_layout import JsonColumns, describe_value, layout_of_columns
from service.datasets.validation import ErrorCollector, count_of, quote_name, quote_value
from service.errors import pointer_to


def find_columns(
    columns: Any, pointer: str, selected: Collection[str] | None, errors: ErrorCollector
) -> JsonColumns:
    """Check an object of columns.

    Args:
        columns: The object.
        pointer: Its pointer.
        selected: Names of the columns to read; None: all. Others are not checked.
        errors: Receives the errors.

    Raises:
        InvalidRequest: It is no object, or has too many columns.
    """
    if not isinstance(columns, dict) or not columns:
        errors.fail(
            pointer, f"Give an object, column name → list of values; found {describe_value(columns)}."
        )
    check_column_count(columns, pointer, errors)
    lists: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if selected is not None and name not in selected:
            continue
        check_name(name, pointer_to(pointer, name), errors)
        if isinstance(values, list):
            lists[name] = values
        else:
            found = quote_value(values)
            errors.add(pointer_to(pointer, name), f"A column must be a list of values; found {found}.")
    _check_lengths(lists, pointer, errors)
    rows = len(next(iter(lists.values()), ()))
    return JsonColumns(list(columns), lists, rows, layout_of_columns(pointer))


def _check_lengths(columns: dict[str, list[Any]], pointer: str, errors: ErrorCollector) -> None:
    """Check that all columns are as long as the first one, and not empty."""
    if not columns:
        return
    first, rows = next((name, len(values)) for name, values in columns.items())
    for name, values in columns.items():
        if len(values) != rows:
            found = f"{quote_name(name)} has {count_of(len(values), 'value')}, {quote_name(first)} has {rows}"
            errors.add(pointer_to(pointer, name), f"{found}; all columns must have the same length.")
    if not any(columns.values()):
        errors.add(pointer, "The columns have no values; give at least one row.")
