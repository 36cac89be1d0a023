"""Missing values: rows that `drop_rows` drops, and checks of columns that have no transform for them."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from service.datasets.dataset import Dataset, TabularDataset, Tensor
from service.datasets.rows import Rows, as_tensor
from service.datasets.sources.columns import TEXT
from service.datasets.transforms.resolve import Step
from service.datasets.validation import ErrorCollector, count_of
from service.specs.transforms import DropRows, Impute, Transform


def dropping_columns(steps: Sequence[Step]) -> list[str]:
    """Return the columns of `drop_rows` transforms."""
    return list(dict.fromkeys(step.column for step in steps if isinstance(step.transform, DropRows)))


def complete_rows(dataset: Dataset, columns: Sequence[str]) -> Rows:
    """Find the rows that have a value in each of some columns, those of `drop_rows` transforms.

    Returns:
        Row numbers, ascending: int64 [n], or the range of all rows.
    """
    if not isinstance(dataset, TabularDataset):  # tensors have no missing values
        return range(dataset.rows)
    found = [dataset.table[name] for name in columns]
    if not any(column.null_count for column in found):
        return range(dataset.rows)
    return torch.from_numpy(np.flatnonzero(np.logical_and.reduce(list(map(_present, found)))))


def check_rows_left(steps: Sequence[Step], kept: Rows, rows: int, errors: ErrorCollector) -> None:
    """Report each `drop_rows` transform if together they drop all rows.

    Args:
        steps: Transforms of each column.
        kept: Rows that are not dropped.
        rows: Number of rows of the dataset.
        errors: Receives the errors.
    """
    if len(kept) or not rows:
        return
    columns_by_pointer: dict[str, list[str]] = {}
    for step in steps:
        if isinstance(step.transform, DropRows):
            columns_by_pointer.setdefault(step.pointer, []).append(f"`{step.column}`")
    for pointer, columns in columns_by_pointer.items():
        detail = (
            f"No row is left: each of the {count_of(rows, 'row')} has a missing value in a column of "
            f"`drop_rows`, here {', '.join(columns)}. Use `impute` to fill missing values."
        )
        errors.add(pointer, detail)


def check_missing_values(
    table: pa.Table,
    pointers: Mapping[str, str],
    targets: Collection[str],
    transforms: Sequence[Transform],
    steps: Sequence[Step],
    kept: Rows,
    errors: ErrorCollector,
) -> None:
    """Report each column with missing values in kept rows and no transform that fills them.

    Args:
        table: The table.
        pointers: Pointers of the columns to check.
        targets: The target columns.
        transforms: The declared transforms. An `impute` that is in the wrong place is reported elsewhere.
        steps: Transforms of each column.
        kept: Rows that are not dropped, see `complete_rows`.
        errors: Receives the errors.
    """
    filled = {step.column for step in steps if isinstance(step.transform, Impute)}
    filled |= {name for each in transforms if isinstance(each, Impute) for name in each.columns}
    for name, pointer in pointers.items():
        column = table[name]
        if name in filled or not column.null_count:
            continue
        rows = as_tensor(kept).numpy()
        missing = rows[~_present(column)[rows]]
        if len(missing):
            found = f"{count_of(len(missing), 'missing value')}, the first in row {missing[0]}"
            errors.add(pointer, f"`{name}` has {found}; {_remedy(name, column, name in targets)}")


def check_missing_targets(targets: Tensor | None, pointer: str, errors: ErrorCollector) -> None:
    """Report missing values in the targets of tensor data.

    Args:
        targets: The targets, [B, …].
        pointer: Location of the targets.
        errors: Receives the error.
    """
    if targets is None or targets.dtype.kind != "f":
        return
    missing = np.isnan(targets).reshape(len(targets), -1)
    if missing.any():
        first = int(missing.any(axis=1).argmax())
        found = f"{count_of(int(missing.sum()), 'missing value')}, the first in row {first}"
        remedy = 'leave out such rows, or set `data.missing_targets` to "mask"'
        errors.add(pointer, f"`targets` has {found}; {remedy} to leave them out of loss and metrics.")


def _present(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_valid(column).to_numpy())


def _remedy(name: str, column: pa.ChunkedArray, is_target: bool) -> str:
    drop = f'add {{"type": "drop_rows", "columns": ["{name}"]}} to `data.transforms` to drop these rows'
    if is_target:
        return f'{drop}, or set `data.missing_targets` to "mask" to leave them out of loss and metrics.'
    strategy = "mode" if column.type == TEXT else "mean"
    fill = f'{{"type": "impute", "columns": ["{name}"], "strategy": "{strategy}"}}'
    return f"{drop}, or put {fill} before the other transforms to fill them."
