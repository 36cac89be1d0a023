"""Missing values: which rows are left out for them, and which columns may not have any."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.rows import Rows, as_tensor
from service.datasets.sources.columns import DATETIME, TEXT
from service.datasets.transforms.resolve import Step
from service.datasets.validation import ErrorCollector, counted
from service.specs.transforms import DropRows, Impute


def complete_rows(dataset: Dataset, steps: Sequence[Step]) -> Rows:
    """The rows that no `drop_rows` leaves out."""
    if not isinstance(dataset, TabularDataset):  # tensors have no gaps
        return range(dataset.rows)
    columns = [dataset.table[step.column] for step in steps if isinstance(step.transform, DropRows)]
    if not any(column.null_count for column in columns):
        return range(dataset.rows)
    return torch.from_numpy(np.flatnonzero(np.logical_and.reduce(list(map(_present, columns)))))


def check_some_left(steps: Sequence[Step], kept: Rows, rows: int, errors: ErrorCollector) -> None:
    """Note that no row is without a missing value, at the `drop_rows` that leave out all."""
    if len(kept) or not rows:
        return
    named: dict[str, list[str]] = {}
    for step in steps:
        if isinstance(step.transform, DropRows):
            named.setdefault(step.pointer, []).append(f"`{step.column}`")
    for pointer, columns in named.items():
        detail = f"No row is left: each of the {counted(rows, 'row')} lacks a value, here of"
        errors.add(pointer, f"{detail} {', '.join(columns)}. `impute` fills values in.")


def check_complete(
    table: pa.Table,
    places: Mapping[str, str],
    targets: Collection[str],
    steps: Sequence[Step],
    kept: Rows,
    errors: ErrorCollector,
) -> None:
    """Note each column that lacks values in rows that are kept, and says nothing of what to do with them.

    Args:
        table: what is looked at.
        places: the pointers of the columns that matter; a datetime among them is no feature anyway.
        targets: which of them are targets.
        steps: of `resolve`.
        kept: of `complete_rows`.
        errors: where it is noted.
    """
    filled = {step.column for step in steps if isinstance(step.transform, Impute)}
    for name, place in places.items():
        column = table[name]
        if name in filled or column.type == DATETIME or not column.null_count:
            continue
        numbers = as_tensor(kept).numpy()
        missing = numbers[~_present(column)[numbers]]
        if len(missing):
            found = f"{counted(len(missing), 'missing value')}, the first in row {missing[0]}"
            errors.add(place, f"`{name}` has {found}: {_remedy(name, column, name in targets)}")


def _present(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_valid(column).to_numpy())


def _remedy(name: str, column: pa.ChunkedArray, is_target: bool) -> str:
    drop = f'add {{"type": "drop_rows", "columns": ["{name}"]}} to `data.transforms` to leave these rows out'
    if is_target:
        return f"{drop}."
    strategy = "mode" if column.type == TEXT else "mean"
    fill = f'{{"type": "impute", "columns": ["{name}"], "strategy": "{strategy}"}}'
    return f"{drop}, or {fill} to fill them."
