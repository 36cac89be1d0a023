"""Datasets in JSON bodies: `columns`, `rows` or their list alone, `dataframe_split`, `inputs`, `targets`."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset, with_options
from service.datasets.sources.casts import as_type, values_as_type
from service.datasets.sources.cell_texts import null_gaps, null_words
from service.datasets.sources.columns import COLUMN_TYPES, MAX_COLUMNS, TEXT, check_name, from_values
from service.datasets.sources.nested_lists import read_nested
from service.datasets.sources.text_columns import infer_kept_type, null_numbers
from service.datasets.validation import SHOWN_ROWS, ErrorCollector, RowPointer, count_of, quote_value
from service.errors import InvalidRequest, pointer_to
from service.specs.base import did_you_mean
from service.specs.upload import ReadOptions

SINGLE_INPUT, WEIGHTS = "input", "weights"
SPLIT = "dataframe_split"
FORMS_TEXT = f"`columns`, `rows`, `{SPLIT}` or `inputs`"


class JsonLines(list[Any]):
    """The rows of JSON Lines, parsed.

    Attributes:
        numbers: The number of each row's line.
    """

    def __init__(self, rows: Mapping[int, Any]) -> None:
        """Take the rows by the numbers of their lines."""
        super().__init__(rows.values())
        self.numbers = list(rows)


class _LineErrors(ErrorCollector):
    """Errors of JSON Lines, which name the line of the row in their pointer."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self._numbers = numbers

    def add(self, pointer: str, detail: str | Callable[[], str]) -> None:
        """Add one error."""
        super().add(
            pointer, lambda: self._with_line(pointer, detail if isinstance(detail, str) else detail())
        )

    def add_rows(self, pointer: str, detail: str, rows: Sequence[int], count: int, key: Hashable) -> None:
        """Add an error that several rows have."""
        super().add_rows(pointer, self._with_line(pointer, detail), rows, count, key)

    def _with_line(self, pointer: str, detail: str) -> str:
        _, *parts = pointer.split("/")
        return f"Line {self._numbers[int(parts[0])]}: {detail}" if parts else detail


class Layout(NamedTuple):
    """Where a JSON document has the columns and cells of a table.

    Attributes:
        container: Pointer of the object or list that contains them.
        column: Returns the pointer of a column.
        cell: Returns the pointer of a cell, by column and row.
    """

    container: str
    column: Callable[[str], str]
    cell: Callable[[str, int], str]


def layout_of(document: Any, pointer: str = "#") -> Layout:
    """Return the layout of a document that `read_json` reads as a table."""
    if isinstance(document, list):
        return Layout(pointer, lambda name: pointer, lambda name, row: pointer_to(pointer, row, name))
    if "rows" in document:
        return layout_of(document["rows"], pointer_to(pointer, "rows"))
    if SPLIT in document:
        base = pointer_to(pointer, SPLIT)
        positions = {name: position for position, name in enumerate(document[SPLIT]["columns"])}
        return Layout(
            base,
            lambda name: pointer_to(base, "columns", positions[name]) if name in positions else base,
            lambda name, row: pointer_to(base, "data", row, positions[name]),
        )
    base = pointer_to(pointer, "columns")
    return Layout(base, partial(pointer_to, base), partial(pointer_to, base))


def column_names(document: Mapping[str, Any]) -> list[str]:
    """Return the column names of a table in a document that may have errors; empty where there are none."""
    names, rows = document.get("columns", ()), document.get("rows")
    if isinstance(rows, list) and rows:
        names = rows[0]
    if isinstance(split := document.get(SPLIT), dict):
        names = split.get("columns")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | dict) else []


def read_json(
    document: Any,
    pointer: str = "#",
    selected: Collection[str] | None = None,
    errors: ErrorCollector | None = None,
    options: ReadOptions | None = None,
    known: Mapping[str, Collection[str]] | None = None,
    cell_errors: ErrorCollector | None = None,
) -> Dataset:
    """Read the dataset in a JSON document.

    Args:
        document: Parsed JSON: a list of rows, or an object with exactly one of `columns`, `rows`,
            `dataframe_split` or `inputs`. Of its other keys, only `targets` and `weights` beside `inputs` are
            read.
        pointer: Pointer to `document` in the request.
        selected: Names of the columns to read of a table; None: all. Other columns get null values and are
            not checked.
        errors: Errors found before in the same document; raised together with those found here.
        options: How to read the cells of a table. The cells of a column with a declared type may have several
            JSON types; of other columns, strings are read as times if all are, and otherwise are text.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name. Of data to train on, only null is a missing value.
        cell_errors: If given, receives the errors in cells, which are not raised; a column with errors is
            replaced by one of Arrow's type null.

    Raises:
        InvalidRequest: The document has errors; lists the first 100 and counts all.
    """
    errors = ErrorCollector() if errors is None else errors
    found_in_cells = errors if cell_errors is None else cell_errors
    cells = _CellReader(options or ReadOptions(), known, found_in_cells)
    if isinstance(document, list):
        return _read_row_list(document, pointer, selected, cells, errors)
    forms = [form for form in _READERS if form in document]
    if len(forms) != 1:
        found = " and ".join(f"`{form}`" for form in forms) or "none of them"
        detail = f"Give the data as exactly one of {FORMS_TEXT}; found {found}."
        if not forms:
            detail += ' Rows may also be sent as a list, [{"x": 1}, …].'
        errors.fail(pointer, detail)
    return _READERS[forms[0]](document, pointer, selected, cells, errors)


class _CellReader(NamedTuple):
    """Reading of the cells of a table; see `read_json`."""

    options: ReadOptions
    known: Mapping[str, Collection[str]] | None
    errors: ErrorCollector

    def column(self, name: str, values: Sequence[Any], pointer_to_row: RowPointer) -> pa.ChunkedArray:
        """Convert the values of a column; of Arrow's type null if a cell has an error."""
        before = self.errors.count
        column = self._convert(name, values, pointer_to_row)
        return column if self.errors.count == before else pa.chunked_array([pa.nulls(len(values))])

    def _convert(self, name: str, values: Sequence[Any], pointer_to_row: RowPointer) -> pa.ChunkedArray:
        if name in self.options.types:
            type_name, known = self.options.types[name], self.known and self.known.get(name, ())
            column = values_as_type(values, type_name, self.options, pointer_to_row, self.errors, known)
            return pa.chunked_array([column])
        column = pa.chunked_array([from_values(values, pointer_to_row, self.errors)])
        if self.options.missing:
            is_text = column.type == TEXT
            column = (null_words if is_text else null_numbers)(column, self.options.missing)
        found = infer_kept_type(column, self.options)
        if found in (None, column.type) or null_gaps(column, self.options).null_count > column.null_count:
            return column
        return as_type(column, COLUMN_TYPES[found], self.options, pointer_to_row, self.errors)

    def table(self, columns: Mapping[str, pa.ChunkedArray]) -> TabularDataset:
        """Combine columns."""
        return TabularDataset(with_options(pa.table(dict(columns)), self.options, reads_gaps=False))


def _read_columns(
    document: Mapping[str, Any],
    pointer: str,
    selected: Collection[str] | None,
    cells: _CellReader,
    errors: ErrorCollector,
) -> TabularDataset:
    columns, pointer = document["columns"], pointer_to(pointer, "columns")
    if not isinstance(columns, dict) or not columns:
        errors.fail(pointer, f"Give an object, column name → list of values; found {_describe(columns)}.")
    _check_column_count(columns, pointer, errors)
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
    arrays = {
        name: cells.column(name, values, partial(pointer_to, pointer, name)) for name, values in lists.items()
    }
    errors.raise_if_any()
    rows = len(next(iter(arrays.values()), ()))
    return cells.table({name: arrays.get(name, pa.nulls(rows)) for name in columns})


def _check_column_count(names: Collection[str], pointer: str, errors: ErrorCollector) -> None:
    if len(names) > MAX_COLUMNS:
        errors.fail(pointer, f"There are {len(names)} columns; at most {MAX_COLUMNS} are supported.")


def _check_lengths(columns: Mapping[str, list[Any]], pointer: str, errors: ErrorCollector) -> None:
    """Check that all columns are as long as the first one, and not empty."""
    if not columns:
        return
    first, rows = next((name, len(values)) for name, values in columns.items())
    for name, values in columns.items():
        if len(values) != rows:
            found = f"`{name}` has {count_of(len(values), 'value')}, `{first}` has {rows}"
            errors.add(pointer_to(pointer, name), f"{found}; all columns must have the same length.")
    if not any(columns.values()):
        errors.add(pointer, "The columns have no values; give at least one row.")


def _read_rows(
    document: Mapping[str, Any],
    pointer: str,
    selected: Collection[str] | None,
    cells: _CellReader,
    errors: ErrorCollector,
) -> TabularDataset:
    return _read_row_list(document["rows"], pointer_to(pointer, "rows"), selected, cells, errors)


def _read_row_list(
    rows: Any, pointer: str, selected: Collection[str] | None, cells: _CellReader, errors: ErrorCollector
) -> TabularDataset:
    if not isinstance(rows, list) or not rows:
        errors.fail(pointer, f"Give a list of objects, column name → value; found {_describe(rows)}.")
    if not isinstance(rows, JsonLines):
        return _read_checked_rows(rows, pointer, selected, cells, errors)
    found, found_in_cells = _LineErrors(rows.numbers), _LineErrors(rows.numbers)
    dataset = None
    with suppress(InvalidRequest):  # raised below with the errors found before
        dataset = _read_checked_rows(rows, pointer, selected, cells._replace(errors=found_in_cells), found)
    errors.extend(found.listed)
    cells.errors.extend(found_in_cells.listed)
    errors.raise_if_any()
    assert dataset is not None
    return dataset


def _read_checked_rows(
    rows: list[Any],
    pointer: str,
    selected: Collection[str] | None,
    cells: _CellReader,
    errors: ErrorCollector,
) -> TabularDataset:
    if not any(isinstance(row, dict) for row in rows):
        found, remedy = quote_value(rows[0]), 'send numbers without names as {"inputs": [[1, 2], …]}'
        errors.fail(pointer, f"A row must be an object, column name → value; found {found}; {remedy}.")
    _check_keys(rows, pointer, selected, errors)
    names = list(rows[0]) if isinstance(rows[0], dict) else []
    _check_column_count(names, pointer_to(pointer, 0), errors)
    names_to_read = [name for name in names if selected is None or name in selected]
    for name in names_to_read:
        check_name(name, pointer_to(pointer, 0, name), errors)
    objects = [row if isinstance(row, dict) else {} for row in rows]
    arrays = {
        name: cells.column(name, [row.get(name) for row in objects], _row_pointer(pointer, name))
        for name in names_to_read
    }
    errors.raise_if_any()
    return cells.table({name: arrays.get(name, pa.nulls(len(rows))) for name in names})


def _row_pointer(pointer: str, name: str) -> RowPointer:
    return lambda row: pointer_to(pointer, row, name)


def _check_keys(
    rows: list[Any], pointer: str, selected: Collection[str] | None, errors: ErrorCollector
) -> None:
    """Check that each row is an object with the keys of the first row, as far as they are selected."""
    names = rows[0].keys() if isinstance(rows[0], dict) else None
    if names is not None and not names:
        errors.add(pointer_to(pointer, 0), "The row has no columns.")
    others: list[int] = []
    missing: dict[str, list[int]] = {}
    unknown: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            others.append(number)
        elif names is not None and row.keys() != names:
            for name in names:
                if name not in row and (selected is None or name in selected):
                    missing.setdefault(name, []).append(number)
            for name in row:
                if name not in names and (selected is None or name in selected):
                    unknown.setdefault(name, []).append(number)
    if others:
        found = quote_value(rows[others[0]])
        detail = f"A row must be an object, column name → value; found {found}."
        _add_rows(pointer_to(pointer, others[0]), detail, others, errors)
    for name, numbers in missing.items():
        remedy = "give every row the columns of row 0, with null for a missing value"
        _add_rows(pointer_to(pointer, numbers[0]), f"`{name}` is missing; {remedy}.", numbers, errors)
    for name, numbers in unknown.items():
        detail = f"`{name}` is not a column of row 0{did_you_mean(name, names or ()) or '.'}"
        _add_rows(pointer_to(pointer, numbers[0], name), detail, numbers, errors)


def _add_rows(pointer: str, detail: str, rows: Sequence[int], errors: ErrorCollector) -> None:
    errors.add_rows(pointer, detail, rows[: SHOWN_ROWS + 1], len(rows), detail)


def _read_split(
    document: Mapping[str, Any],
    pointer: str,
    selected: Collection[str] | None,
    cells: _CellReader,
    errors: ErrorCollector,
) -> TabularDataset:
    split, base = document[SPLIT], pointer_to(pointer, SPLIT)
    names_pointer, data_pointer = pointer_to(base, "columns"), pointer_to(base, "data")
    if not isinstance(split, dict):
        errors.fail(base, f"Give an object with `columns` and `data`; found {_describe(split)}.")
    for key in split.keys() - {"columns", "data", "index"}:
        hint = did_you_mean(key, ("columns", "data", "index")) or "; give `columns` and `data`."
        errors.add(pointer_to(base, key), f"`{key}` is not a field here{hint}")
    names, data = split.get("columns"), split.get("data")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        detail = f"Give `columns` as a list of names, which are strings; found {_describe(names)}."
        errors.fail(names_pointer if "columns" in split else base, detail)
    _check_column_count(names, names_pointer, errors)
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if selected is None or name in selected:
            check_name(name, pointer_to(names_pointer, position), errors)
            if name in positions:
                errors.add(pointer_to(names_pointer, position), f"`{name}` appears twice; rename one.")
        positions.setdefault(name, position)
    if not isinstance(data, list) or not data:
        detail = f"Give `data` as a list of rows, each a list of values; found {_describe(data)}."
        errors.fail(data_pointer if "data" in split else base, detail)
    _check_widths(data, len(names), data_pointer, errors)
    arrays = {
        name: cells.column(name, [row[position] for row in data], _split_pointer(data_pointer, position))
        for name, position in positions.items()
        if selected is None or name in selected
    }
    errors.raise_if_any()
    return cells.table({name: arrays.get(name, pa.nulls(len(data))) for name in positions})


def _split_pointer(pointer: str, position: int) -> RowPointer:
    return lambda row: pointer_to(pointer, row, position)


def _check_widths(data: list[Any], columns: int, pointer: str, errors: ErrorCollector) -> None:
    """Check that each row is a list with a value for each column."""
    wrong = [n for n, row in enumerate(data) if not isinstance(row, list) or len(row) != columns]
    if wrong:
        row = data[wrong[0]]
        found = count_of(len(row), "value") if isinstance(row, list) else quote_value(row)
        detail = f"A row must be a list of {count_of(columns, 'value')}, one for each column; found {found}"
        _add_rows(pointer_to(pointer, wrong[0]), f"{detail}.", wrong, errors)
        errors.raise_if_any()


def _read_tensors(
    document: Mapping[str, Any],
    pointer: str,
    selected: Collection[str] | None,
    cells: _CellReader,
    errors: ErrorCollector,
) -> TensorDataset:
    inputs = _read_inputs(document["inputs"], pointer_to(pointer, "inputs"), errors)
    targets = None
    if "targets" in document:
        targets_pointer = pointer_to(pointer, "targets")
        nested = document["targets"]
        # Only values [B, k] may be missing: an array of integers has no value for a missing class number.
        allows_missing = isinstance(nested, list) and any(isinstance(each, list) for each in nested)
        targets = read_nested(nested, targets_pointer, errors, allows_missing)
        if targets is not None and targets.ndim == 1 and targets.dtype == np.float64:
            detail = f"Targets that are not class indices must be [B, k]; {wrapping_remedy(targets)}"
            errors.add(targets_pointer, detail)
    weights = None
    if document.get(WEIGHTS) is not None:
        weights = read_nested(document[WEIGHTS], pointer_to(pointer, WEIGHTS), errors)
    check_sample_counts(inputs, {"targets": targets, WEIGHTS: weights}, pointer, errors)
    check_weights_shape(weights, pointer_to(pointer, WEIGHTS), errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets, weights)


def _read_inputs(inputs: Any, pointer: str, errors: ErrorCollector) -> dict[str, Tensor]:
    """Read a nested list, or an object of nested lists; tensors with errors are left out."""
    if isinstance(inputs, dict):
        if not inputs:
            errors.add(pointer, "Give at least one named tensor; found none.")
        pointers = {name: pointer_to(pointer, name) for name in inputs}
        for name in inputs:
            check_name(name, pointers[name], errors)
    else:
        inputs, pointers = {SINGLE_INPUT: inputs}, {SINGLE_INPUT: pointer}
    tensors = {}
    for name, nested in inputs.items():
        tensor = read_nested(nested, pointers[name], errors)
        if tensor is None:
            continue
        if tensor.ndim == 1:
            errors.add(pointers[name], f"Samples must be [B, k]; {wrapping_remedy(tensor)}")
        tensors[name] = tensor
    return tensors


def wrapping_remedy(values: Tensor) -> str:
    """Return a message that shows how to make [B] into [B, 1], with the client's own first values."""
    first = ", ".join(f"[{quote_value(value)}]" for value in values[:2].tolist())
    return f"wrap each value, [{first}{', …' if len(values) > 2 else ''}]."


def check_sample_counts(
    inputs: Mapping[str, Tensor], others: Mapping[str, Tensor | None], pointer: str, errors: ErrorCollector
) -> None:
    """Check that all tensors have as many samples as the first input.

    Args:
        inputs: [B, …] each.
        others: `targets` and `weights`, [B, …] each.
        pointer: Pointer to the object of `inputs` and `others`.
        errors: Receives an error for each tensor with another number of samples.
    """
    if not inputs:
        return
    first, samples = next((name, len(tensor)) for name, tensor in inputs.items())
    for name, tensor in inputs.items():
        if len(tensor) != samples:
            detail = f"`{name}` has {count_of(len(tensor), 'sample')}, `{first}` has {samples}."
            errors.add(pointer_to(pointer, "inputs", name), detail)
    for name, other in others.items():
        if other is not None and len(other) != samples:
            detail = f"`{name}` has {count_of(len(other), 'sample')}, `{first}` has {samples}."
            errors.add(pointer_to(pointer, name), detail)


def check_weights_shape(weights: Tensor | None, pointer: str, errors: ErrorCollector) -> None:
    """Check that weights are [B]: one number for each sample."""
    if weights is not None and weights.ndim != 1:
        detail = f"Weights must have shape [B], not {list(weights.shape)}: one number for each sample."
        errors.add(pointer, detail)


def _describe(value: Any) -> str:
    return "an empty one" if value in ([], {}) else quote_value(value)


_READERS: dict[
    str, Callable[[Mapping[str, Any], str, Collection[str] | None, _CellReader, ErrorCollector], Dataset]
] = {
    "columns": _read_columns,
    "rows": _read_rows,
    SPLIT: _read_split,
    "inputs": _read_tensors,
}
