"""What a dataset holds, in words and numbers for its reader."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.columns import BOOLEAN, COLUMN_TYPES, NUMBER, TEXT, stray_texts
from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.mistakes import counted, shown

MOST_CATEGORIES = 100


def describe(dataset: Dataset) -> dict[str, Any]:
    """A dataset's columns and what is odd about them, JSON-able.

    Returns:
        `rows`; `columns`: name, type and missing values of each, and `min`, `max`, `mean`, `std` (ddof = 0)
        of numbers, `mean` (the share of true) of booleans, `distinct` and the first 100 `categories` in
        ascending order of text, `shape` [B, …] and `dtype` of tensors; `warnings`: sentences.
    """
    if isinstance(dataset, TensorDataset):
        columns = [_describe_tensor(name, tensor) for name, tensor in dataset.inputs.items()]
        if dataset.targets is not None:
            columns.append(_describe_tensor("targets", dataset.targets))
        return {"rows": dataset.rows, "columns": columns, "warnings": []}
    names = dataset.table.column_names
    columns = [_describe_column(name, dataset.table[name]) for name in names]
    warnings = [warning for name in names for warning in _warnings(name, dataset.table[name])]
    return {"rows": dataset.rows, "columns": columns, "warnings": warnings}


def rows(dataset: Dataset, offset: int, limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows from `offset` (from 0), each as an object of its columns or tensors."""
    if isinstance(dataset, TabularDataset):
        return list(dataset.table.slice(offset, limit).to_pylist())
    end = min(offset + limit, dataset.rows)
    return [_sample(dataset, number) for number in range(offset, end)]


def _sample(dataset: TensorDataset, number: int) -> dict[str, Any]:
    sample: dict[str, Any] = {
        "inputs": {name: tensor[number].tolist() for name, tensor in dataset.inputs.items()}
    }
    if dataset.targets is not None:
        sample["targets"] = dataset.targets[number].tolist()
    return sample


def _describe_tensor(name: str, tensor: Tensor) -> dict[str, Any]:
    return {
        "name": name,
        "type": "tensor",
        "missing": 0,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        **_statistics(pa.array(tensor.reshape(-1).astype(np.float64))),
    }


def _describe_column(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    head = {"name": name, "type": COLUMN_TYPES[column.type], "missing": column.null_count}
    if column.type == NUMBER:
        return head | _statistics(column)
    if column.type == BOOLEAN:
        return head | {"mean": pc.mean(column).as_py()}
    categories = sorted(pc.unique(column.drop_null()).to_pylist())
    return head | {"distinct": len(categories), "categories": categories[:MOST_CATEGORIES]}


def _statistics(values: pa.Array | pa.ChunkedArray) -> dict[str, float | None]:
    """min, max, mean and std; null where there are no values or the sum is beyond a double."""
    return {
        "min": pc.min(values).as_py(),
        "max": pc.max(values).as_py(),
        "mean": _finite(pc.mean(values).as_py()),
        "std": _finite(pc.stddev(values).as_py()),
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _warnings(name: str, column: pa.ChunkedArray) -> Iterator[str]:
    distinct = len(pc.unique(column.drop_null()))
    if distinct == 0:
        yield f"`{name}` holds no values at all."
    elif distinct == 1 and len(column) > 1:
        yield f"`{name}` is constant: each value is {shown(pc.first(column.drop_null()).as_py())}."
    if column.type == TEXT and (strays := stray_texts(column)):
        row, text = strays[0]
        yield (
            f"`{name}` is read as text because of {counted(len(strays), 'value')} of {len(column)} "
            f"that can't be read as a number, the first {shown(text)} in row {row}."
        )
