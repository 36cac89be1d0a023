"""The ids of the rows of a prediction or an evaluation, as they were sent."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.rows import Rows, select_rows
from service.datasets.sources.as_sent import Columns, columns_of_table
from service.datasets.sources.json_layout import SPLIT, layout_of, split_names
from service.datasets.validation import ErrorCollector, count_of, quote_value

_SCALARS = (str, int, float, bool, type(None))


class RowIds:
    """The columns of ids of rows.

    Args:
        names: The columns that identify the rows.
        source: The rows: a dataset, or JSON that `read_json` has read as a table or tensors.
        rows: Number of rows.
        pointer: Location of `source` in the request.

    Raises:
        InvalidRequest: Columns of JSON do not fit the others, or hold lists or objects.
    """

    def __init__(
        self,
        names: Sequence[str],
        source: Mapping[str, Any] | list[Any] | Dataset,
        rows: int,
        pointer: str = "#",
    ) -> None:
        self._names = names
        self._table = source.table if isinstance(source, TabularDataset) else None
        self._sent: Columns = {}
        if isinstance(source, TabularDataset):
            self._sent = source.as_sent
        elif not isinstance(source, TensorDataset):
            self._sent = _checked_columns(names, source, rows, pointer)

    def of(self, rows: Rows) -> dict[str, list[Any]]:
        """Return the ids of rows by column, [rows]; without the columns that were not sent."""
        numbers = rows.tolist() if not isinstance(rows, range) else rows
        stored: Columns = {}
        if self._table is not None:
            columns = [name for name in self._names if name in self._table.column_names]
            columns = [name for name in columns if name not in self._sent]
            stored = columns_of_table(select_rows(self._table.select(columns), rows), columns)
        sent = {name: [values[row] for row in numbers] for name, values in self._sent.items()}
        found = {**stored, **sent}
        return {name: list(found[name]) for name in self._names if name in found}


def _checked_columns(
    names: Sequence[str], document: Mapping[str, Any] | list[Any], rows: int, pointer: str
) -> Columns:
    """Return the columns of ids in a JSON document."""
    columns = _columns(names, document)
    if not columns:
        return {}
    errors, layout = ErrorCollector(), layout_of(document, pointer)
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != rows:
            found = count_of(len(values), "value") if isinstance(values, list) else quote_value(values)
            errors.add(layout.column(name), f"`{name}` identifies {count_of(rows, 'row')}; found {found}.")
            continue
        for row, value in enumerate(values):
            if not isinstance(value, _SCALARS):
                detail = f"An id must be text, a number or a boolean; found {quote_value(value)}."
                errors.add(layout.cell(name, row), detail)
    errors.raise_if_any()
    return columns


def _columns(names: Sequence[str], document: Mapping[str, Any] | list[Any]) -> dict[str, Any]:
    """Return those columns that a JSON document has; the values of one are a list if they are valid."""
    if isinstance(document, list):
        return {name: [row.get(name) for row in document] for name in names if name in document[0]}
    if "rows" in document:
        return _columns(names, document["rows"])
    if SPLIT in document:
        sent, rows = split_names(document[SPLIT]["columns"]), document[SPLIT]["data"]
        positions = {name: sent.index(name) for name in names if name in sent}
        return {name: [row[position] for row in rows] for name, position in positions.items()}
    columns = document.get("columns", {})
    return {name: columns[name] for name in names if name in columns}
