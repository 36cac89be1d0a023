"""What a dataset holds, in words and numbers for its reader."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from service.datasets.columns import BOOLEAN, COLUMN_TYPES, NUMBER, TEXT, stray_texts
from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.mistakes import counted, shown
from service.datasets.sample import (
    MOST_CATEGORIES,
    SAMPLE_ROWS,
    categories,
    distinct,
    histogram,
    numbers,
    repeated_rows,
)
from service.datasets.summary import ColumnSummary, TableSummary
from service.datasets.tensor_file import Tensor, slices
from service.datasets.timestamp import rfc3339

_FEWEST_IDS = 20  # fewer rows may all differ by chance
_MOST_CLASSES = 20
_IMBALANCE = 20  # how many times more frequent the most frequent class is


def describe(dataset: Dataset, summary: TableSummary | None = None) -> dict[str, Any]:
    """A dataset's columns and what is odd about them, JSON-able.

    Args:
        dataset: in memory, or mapped from a file.
        summary: of its table, where that was made while it was written.

    Returns:
        `rows`; `columns`: name, type, `count` and `missing` of each, `min`, `max`, `mean`, `std`
        (ddof = 0) of numbers, `mean` (the share of true) of booleans, `min` and `max` of times, `shape`
        [B, …] and `dtype` of tensors: all exact. Of the first `sampled_rows`: `distinct` values,
        `histogram`, the 100 most frequent `categories` with their `category_counts`, and most of the
        `warnings`, which are sentences.
    """
    if isinstance(dataset, TensorDataset):
        return _describe_tensors(dataset)
    sample = dataset.table.slice(0, SAMPLE_ROWS)
    summary = summary or _summarized(dataset)
    columns = [_describe_column(name, sample[name], column) for name, column in summary.columns.items()]
    warnings = [
        warning
        for description, (name, column) in zip(columns, summary.columns.items(), strict=True)
        for warning in _warnings(description, sample[name], column)
    ]
    return {
        "rows": dataset.rows,
        "sampled_rows": sample.num_rows,
        "columns": columns,
        "warnings": [*warnings, *_row_warnings(sample)],
    }


def _summarized(dataset: TabularDataset) -> TableSummary:
    summary = TableSummary(dataset.table.schema)
    for batch in dataset.table.to_batches():
        summary.add(batch)
    return summary


def _describe_column(name: str, sample: pa.ChunkedArray, summary: ColumnSummary) -> dict[str, Any]:
    document = {"name": name, "type": COLUMN_TYPES[sample.type], **summary.document()}
    if sample.type == TEXT:
        values, counts = categories(sample)
        most = slice(MOST_CATEGORIES)
        return document | {
            "distinct": len(values),
            "categories": values[most],
            "category_counts": counts[most],
        }
    document["distinct"] = distinct(sample)
    if sample.type == NUMBER:
        document["histogram"] = histogram(numbers(sample))
    return document


def _warnings(description: dict[str, Any], sample: pa.ChunkedArray, summary: ColumnSummary) -> Iterator[str]:
    name, values = description["name"], description["distinct"]
    constant = values == 1 if summary.is_constant is None else summary.is_constant
    if summary.count == 0:
        yield f"`{name}` holds no values at all."
    elif constant and summary.count > 1:
        yield f"`{name}` is constant: each value is {_shown(sample.drop_null()[0].as_py())}."
    elif _tells_rows_apart(description, sample):
        yield f"`{name}` has another value in each row, as an id has: a model can't learn from it."
    elif sample.type in (TEXT, BOOLEAN):
        yield from _imbalance(name, *categories(sample))
    if sample.type == TEXT and (strays := stray_texts(sample)):
        row, text = strays[0]
        yield (
            f"`{name}` is read as text because of {counted(len(strays), 'value')} of {len(sample)} "
            f"that can't be read as a number, the first {shown(text)} in row {row}."
        )


def _shown(value: object) -> str:
    return shown(rfc3339(value) if isinstance(value, datetime) else value)


def _tells_rows_apart(description: dict[str, Any], sample: pa.ChunkedArray) -> bool:
    """Whether a column of text, or of whole numbers without a gap, has another value in each row."""
    if len(sample) < _FEWEST_IDS or description["distinct"] < len(sample):
        return False
    if sample.type != NUMBER:
        return bool(sample.type == TEXT)
    values = numbers(sample)
    return bool(values.max() - values.min() == len(values) - 1 and (values == np.floor(values)).all())


def _imbalance(name: str, classes: list[Any], counts: list[int]) -> Iterator[str]:
    if 2 <= len(classes) <= _MOST_CLASSES and counts[0] >= _IMBALANCE * counts[-1]:
        most, least = shown(classes[0]), shown(classes[-1])
        yield f"`{name}` is out of balance: {most} is there {counts[0]} times, {least} {counts[-1]}."


def _row_warnings(sample: pa.Table) -> Iterator[str]:
    if repeated := repeated_rows(sample.columns):
        yield f"{counted(repeated, 'row')} of the first {sample.num_rows} repeat an earlier one."


def _describe_tensors(dataset: TensorDataset) -> dict[str, Any]:
    columns = [_describe_tensor(name, tensor) for name, tensor in dataset.named()]
    warnings: list[str] = []
    if dataset.targets is not None and dataset.targets.ndim == 1:
        classes, counts = np.unique(dataset.targets[:SAMPLE_ROWS], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        warnings += _imbalance("targets", classes[order].tolist(), counts[order].tolist())
    sampled_rows = min(dataset.rows, SAMPLE_ROWS)
    return {"rows": dataset.rows, "sampled_rows": sampled_rows, "columns": columns, "warnings": warnings}


def _describe_tensor(name: str, tensor: Tensor) -> dict[str, Any]:
    summary = ColumnSummary(NUMBER)
    for piece in slices(tensor):
        summary.add(pa.array(piece.reshape(-1).astype(np.float64)))
    samples = max(1, SAMPLE_ROWS * len(tensor) // tensor.size)
    return {
        "name": name,
        "type": "tensor",
        **summary.document(),
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        "histogram": histogram(tensor[:samples].reshape(-1).astype(np.float64)),
    }


def rows(dataset: Dataset, offset: int, limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows from `offset` (from 0), each as an object of its columns or tensors."""
    if isinstance(dataset, TabularDataset):
        page: list[dict[str, Any]] = dataset.table.slice(offset, limit).to_pylist()
        return [{name: _as_json(value) for name, value in row.items()} for row in page]
    end = min(offset + limit, dataset.rows)
    return [_sample_at(dataset, number) for number in range(offset, end)]


def _as_json(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value


def _sample_at(dataset: TensorDataset, number: int) -> dict[str, Any]:
    sample: dict[str, Any] = {
        "inputs": {name: tensor[number].tolist() for name, tensor in dataset.inputs.items()}
    }
    if dataset.targets is not None:
        sample["targets"] = dataset.targets[number].tolist()
    return sample
