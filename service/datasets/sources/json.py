"""The content of a JSON body as a dataset: `columns`, `rows`, or `inputs` with `targets`."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.sources.columns import MOST_COLUMNS, check_name, from_values
from service.datasets.sources.nested_lists import read_nested
from service.datasets.validation import ErrorCollector, counted, shown
from service.errors import pointer_to
from service.specs.base import did_you_mean

SINGLE_INPUT = "input"


def read_json(
    document: Mapping[str, Any],
    pointer: str = "#",
    taken: Collection[str] | None = None,
    errors: ErrorCollector | None = None,
) -> Dataset:
    """The dataset that a body spells out.

    Args:
        document: parsed JSON with exactly one of `columns`, `rows` or `inputs`; of the other keys only
            `targets` beside `inputs` is read.
        pointer: the place of `document` in the request.
        taken: the columns of a table that matter; None: all. Others are there without a value, and may hold
            anything.
        errors: what was noted before about the same document; raised with what is found here.

    Raises:
        InvalidRequest: with every error, or the first 100 of them and their number.
    """
    errors = errors or ErrorCollector()
    forms = [form for form in _READERS if form in document]
    if len(forms) != 1:
        found = " and ".join(f"`{form}`" for form in forms) or "none of them"
        detail = f"Give the data as exactly one of `columns`, `rows` or `inputs`; found {found}."
        errors.fail(pointer, detail)
    return _READERS[forms[0]](document, pointer, taken, errors)


def _read_columns(
    document: Mapping[str, Any], pointer: str, taken: Collection[str] | None, errors: ErrorCollector
) -> TabularDataset:
    columns, pointer = document["columns"], pointer_to(pointer, "columns")
    if not isinstance(columns, dict) or not columns:
        errors.fail(pointer, f"Give an object, column name → list of values; found {_found(columns)}.")
    _check_count(columns, pointer, errors)
    matter = [name for name in columns if taken is None or name in taken]
    for name in matter:
        check_name(name, pointer_to(pointer, name), errors)
        if not isinstance(columns[name], list):
            found = shown(columns[name])
            errors.add(pointer_to(pointer, name), f"A column is a list of values; found {found}.")
    lists = {name: columns[name] for name in matter if isinstance(columns[name], list)}
    _check_lengths(lists, pointer, errors)
    arrays = {
        name: from_values(values, partial(pointer_to, pointer, name), errors)
        for name, values in lists.items()
    }
    errors.raise_if_any()
    rows = len(next(iter(arrays.values()), ()))
    return TabularDataset(pa.table({name: arrays.get(name, pa.nulls(rows)) for name in columns}))


def _check_count(names: Collection[str], pointer: str, errors: ErrorCollector) -> None:
    if len(names) > MOST_COLUMNS:
        errors.fail(pointer, f"There are {len(names)} columns; at most {MOST_COLUMNS} are taken.")


def _check_lengths(columns: Mapping[str, list[Any]], pointer: str, errors: ErrorCollector) -> None:
    """Note each column that is not as long as the first, or that all are empty."""
    if not columns:
        return
    first, rows = next((name, len(values)) for name, values in columns.items())
    for name, values in columns.items():
        if len(values) != rows:
            found = f"`{name}` has {counted(len(values), 'value')}, `{first}` has {rows}"
            errors.add(pointer_to(pointer, name), f"{found}: columns are equally long.")
    if not any(columns.values()):
        errors.add(pointer, "The columns hold no values: give at least one row.")


def _read_rows(
    document: Mapping[str, Any], pointer: str, taken: Collection[str] | None, errors: ErrorCollector
) -> TabularDataset:
    rows, pointer = document["rows"], pointer_to(pointer, "rows")
    if not isinstance(rows, list) or not rows:
        errors.fail(pointer, f"Give a list of objects, column name → value; found {_found(rows)}.")
    _check_keys(rows, pointer, taken, errors)
    names = list(rows[0]) if isinstance(rows[0], dict) else []
    _check_count(names, pointer_to(pointer, 0), errors)
    matter = [name for name in names if taken is None or name in taken]
    for name in matter:
        check_name(name, pointer_to(pointer, 0, name), errors)
    cells = [row if isinstance(row, dict) else {} for row in rows]
    arrays = {
        name: from_values([row.get(name) for row in cells], _cell_of_row(pointer, name), errors)
        for name in matter
    }
    errors.raise_if_any()
    return TabularDataset(pa.table({name: arrays.get(name, pa.nulls(len(rows))) for name in names}))


def _cell_of_row(pointer: str, name: str) -> Callable[[int], str]:
    return lambda row: pointer_to(pointer, row, name)


def _check_keys(rows: list[Any], pointer: str, taken: Collection[str] | None, errors: ErrorCollector) -> None:
    """Note each row that is no object or whose keys, as far as they matter, are not those of the first."""
    names = rows[0].keys() if isinstance(rows[0], dict) else None
    if names is not None and not names:
        errors.add(pointer_to(pointer, 0), "The row names no column.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            place = pointer_to(pointer, number)
            errors.add(place, f"A row is an object, column name → value; found {shown(row)}.")
        elif names is not None and row.keys() != names:
            place = pointer_to(pointer, number)
            for name in [name for name in names if name not in row and (taken is None or name in taken)]:
                errors.add(
                    place, f"`{name}` is missing: each row has the columns of row 0; send null for no value."
                )
            for name in [name for name in row if name not in names and (taken is None or name in taken)]:
                hint = did_you_mean(name, names) or "."
                errors.add(pointer_to(place, name), f"`{name}` is not a column of row 0{hint}")


def _read_tensors(
    document: Mapping[str, Any], pointer: str, taken: Collection[str] | None, errors: ErrorCollector
) -> TensorDataset:
    inputs = _read_inputs(document["inputs"], pointer_to(pointer, "inputs"), errors)
    targets = None
    if "targets" in document:
        place = pointer_to(pointer, "targets")
        targets = read_nested(document["targets"], place, errors)
        if targets is not None and targets.ndim == 1 and targets.dtype == np.float64:
            errors.add(place, f"Targets that are not classes are [B, k]: {wrapping(targets)}")
    check_samples(inputs, targets, pointer, errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets)


def _read_inputs(inputs: Any, pointer: str, errors: ErrorCollector) -> dict[str, Tensor]:
    """The tensors of a nested list, or of an object of nested lists, that could be read."""
    if isinstance(inputs, dict):
        if not inputs:
            errors.add(pointer, "Give at least one named tensor; found none.")
        places = {name: pointer_to(pointer, name) for name in inputs}
        for name, place in places.items():
            check_name(name, place, errors)
    else:
        inputs, places = {SINGLE_INPUT: inputs}, {SINGLE_INPUT: pointer}
    tensors = {}
    for name, nested in inputs.items():
        tensor = read_nested(nested, places[name], errors)
        if tensor is not None and tensor.ndim == 1:
            errors.add(places[name], f"Samples are [B, k]: {wrapping(tensor)}")
        if tensor is not None:
            tensors[name] = tensor
    return tensors


def wrapping(values: Tensor) -> str:
    """How to make [B] into [B, 1], shown with the first of the client's own values."""
    first = ", ".join(f"[{shown(value)}]" for value in values[:2].tolist())
    return f"wrap each value, [{first}{', …' if len(values) > 2 else ''}]."


def check_samples(
    inputs: Mapping[str, Tensor], targets: Tensor | None, pointer: str, errors: ErrorCollector
) -> None:
    """Note each tensor that has not as many samples as the first input."""
    if not inputs:
        return
    first, samples = next((name, len(tensor)) for name, tensor in inputs.items())
    for name, tensor in inputs.items():
        if len(tensor) != samples:
            detail = f"`{name}` holds {counted(len(tensor), 'sample')}, `{first}` holds {samples}."
            errors.add(pointer_to(pointer, "inputs", name), detail)
    if targets is not None and len(targets) != samples:
        detail = f"`targets` holds {counted(len(targets), 'sample')}, `{first}` holds {samples}."
        errors.add(pointer_to(pointer, "targets"), detail)


def _found(value: Any) -> str:
    return "an empty one" if value in ([], {}) else shown(value)


_READERS: dict[str, Callable[[Mapping[str, Any], str, Collection[str] | None, ErrorCollector], Dataset]] = {
    "columns": _read_columns,
    "rows": _read_rows,
    "inputs": _read_tensors,
}
