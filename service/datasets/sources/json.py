"""Datasets in JSON bodies: `columns`, `rows`, or `inputs` with `targets`."""

from collections.abc import Callable, Collection, Mapping, Sequence
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
from service.datasets.validation import ErrorCollector, RowPointer, count_of, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.upload import ReadOptions

SINGLE_INPUT = "input"


def read_json(
    document: Mapping[str, Any],
    pointer: str = "#",
    selected: Collection[str] | None = None,
    errors: ErrorCollector | None = None,
    options: ReadOptions | None = None,
    known: Mapping[str, Collection[str]] | None = None,
    cell_errors: ErrorCollector | None = None,
) -> Dataset:
    """Read the dataset in a JSON document.

    Args:
        document: Parsed JSON with exactly one of `columns`, `rows` or `inputs`. Of the other keys, only
            `targets` beside `inputs` is read.
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
    errors = errors or ErrorCollector()
    forms = [form for form in _READERS if form in document]
    if len(forms) != 1:
        found = " and ".join(f"`{form}`" for form in forms) or "none of them"
        detail = f"Give the data as exactly one of `columns`, `rows` or `inputs`; found {found}."
        errors.fail(pointer, detail)
    found_in_cells = errors if cell_errors is None else cell_errors
    cells = _CellReader(options or ReadOptions(), known, found_in_cells)
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
        return TabularDataset(with_options(pa.table(dict(columns)), self.options))


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
    rows, pointer = document["rows"], pointer_to(pointer, "rows")
    if not isinstance(rows, list) or not rows:
        errors.fail(pointer, f"Give a list of objects, column name → value; found {_describe(rows)}.")
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
    for number, row in enumerate(rows):
        row_pointer = pointer_to(pointer, number)
        if not isinstance(row, dict):
            found = quote_value(row)
            errors.add(row_pointer, f"A row must be an object, column name → value; found {found}.")
        elif names is not None and row.keys() != names:
            for name in names:
                if name not in row and (selected is None or name in selected):
                    remedy = "give every row the columns of row 0, with null for a missing value"
                    errors.add(row_pointer, f"`{name}` is missing; {remedy}.")
            for name in row:
                if name not in names and (selected is None or name in selected):
                    hint = did_you_mean(name, names) or "."
                    errors.add(pointer_to(row_pointer, name), f"`{name}` is not a column of row 0{hint}")


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
        targets = read_nested(document["targets"], targets_pointer, errors)
        if targets is not None and targets.ndim == 1 and targets.dtype == np.float64:
            detail = f"Targets that are not class indices must be [B, k]; {wrapping_remedy(targets)}"
            errors.add(targets_pointer, detail)
    check_sample_counts(inputs, targets, pointer, errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets)


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
    inputs: Mapping[str, Tensor], targets: Tensor | None, pointer: str, errors: ErrorCollector
) -> None:
    """Check that all inputs and the targets have as many samples as the first input.

    Args:
        inputs: [B, …] each.
        targets: [B, …].
        pointer: Pointer to the object of `inputs` and `targets`.
        errors: Receives an error for each tensor with another number of samples.
    """
    if not inputs:
        return
    first, samples = next((name, len(tensor)) for name, tensor in inputs.items())
    for name, tensor in inputs.items():
        if len(tensor) != samples:
            detail = f"`{name}` has {count_of(len(tensor), 'sample')}, `{first}` has {samples}."
            errors.add(pointer_to(pointer, "inputs", name), detail)
    if targets is not None and len(targets) != samples:
        detail = f"`targets` has {count_of(len(targets), 'sample')}, `{first}` has {samples}."
        errors.add(pointer_to(pointer, "targets"), detail)


def _describe(value: Any) -> str:
    return "an empty one" if value in ([], {}) else quote_value(value)


_READERS: dict[
    str, Callable[[Mapping[str, Any], str, Collection[str] | None, _CellReader, ErrorCollector], Dataset]
] = {
    "columns": _read_columns,
    "rows": _read_rows,
    "inputs": _read_tensors,
}
