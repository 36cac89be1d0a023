"""What a dataset holds, in words and numbers for its reader."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.profile.sampling import (
    MOST_CATEGORIES,
    SAMPLE_ROWS,
    Counts,
    count_values,
    histogram,
    numbers,
    repeated_rows,
    spread_sample,
    verified_rows,
)
from service.datasets.profile.summary import ColumnSummary, TableSummary
from service.datasets.sources.columns import BOOLEAN, COLUMN_TYPES, NUMBER, TEXT, are_numbers, find_strays
from service.datasets.tensor_file import Tensor, slices
from service.datasets.timestamps import rfc3339
from service.datasets.validation import counted, shown

_FEWEST_IDS = 20  # fewer rows may all differ by chance
_MOST_CLASSES = 20
_LONGEST_CATEGORY = 200  # characters that are shown
_IMBALANCE = 20  # how many times more frequent the most frequent class is


def describe(dataset: Dataset, summary: TableSummary | None = None) -> dict[str, Any]:
    """A dataset's columns and what is odd about them, JSON-able.

    Args:
        dataset: in memory, or mapped from a file.
        summary: of its table, where that was made while it was written.

    Returns:
        `rows`; `columns`: name, type, `count` and `missing` of each, `min`, `max`, `mean`, `std`
        (ddof = 0) of numbers, `mean` (the share of true) of booleans, `min` and `max` of times, `shape`
        [B, …] and `dtype` of tensors: all exact, and so are `warnings`, which are sentences. `distinct`
        values and the 100 most frequent `categories` with their `category_counts` are exact, unless there
        are more than 10,000: then they are of `sampled_rows` all over the data, as is the `histogram`.
    """
    if isinstance(dataset, TensorDataset):
        return _describe_tensors(dataset)
    sample = spread_sample(dataset.table)
    summary = summary or _summarized(dataset)
    columns, warnings = [], list(_name_warnings(dataset.table.column_names))
    for name, column in summary.columns.items():
        counts = count_values(dataset.table[name], sample[name])
        columns.append(_describe_column(name, sample[name], column, counts))
        warnings += _warnings(name, dataset.table[name], sample[name], column, counts)
    return {
        "rows": dataset.rows,
        "sampled_rows": sample.num_rows,
        "columns": columns,
        "warnings": [*warnings, *_row_warnings(sample, dataset.rows)],
    }


def _summarized(dataset: TabularDataset) -> TableSummary:
    summary = TableSummary(dataset.table.schema)
    for batch in dataset.table.to_batches():
        summary.add(batch)
    return summary


def _describe_column(
    name: str, sample: pa.ChunkedArray, summary: ColumnSummary, counts: Counts
) -> dict[str, Any]:
    document = {"name": name, "type": COLUMN_TYPES[sample.type], **summary.document()}
    document["distinct"] = counts.distinct
    if sample.type == TEXT:
        most = counts.most_frequent()[:MOST_CATEGORIES]
        document["categories"] = [_cut(value) for value, _ in most]
        document["category_counts"] = [count for _, count in most]
    if sample.type == NUMBER:
        document["histogram"] = histogram(numbers(sample))
    return document


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CATEGORY else f"{text[:_LONGEST_CATEGORY]}…"


def _name_warnings(names: list[str]) -> Iterator[str]:
    if bool(pc.all(are_numbers(pa.array(names, TEXT))).as_py()):
        first = ", ".join(f"`{name}`" for name in names[:3])
        remedy = "if they are the first row of a CSV without names, send it with `?header=false`"
        yield f"All names of columns are numbers, as {first}: {remedy}."


def _warnings(
    name: str, column: pa.ChunkedArray, sample: pa.ChunkedArray, summary: ColumnSummary, counts: Counts
) -> Iterator[str]:
    if summary.count == 0:
        yield f"`{name}` holds no values at all."
    elif counts.are_of_all and counts.distinct == 1 < summary.count:
        (value,) = counts.by_value
        yield f"`{name}` is constant: each value is {_shown(value)}."
    elif rows := _told_apart(column, sample, counts):
        each = "each row" if rows == len(column) else f"each of the first {rows} rows"
        yield f"`{name}` has another value in {each}, as an id has: a model can't learn from it."
    elif column.type in (TEXT, BOOLEAN) and counts.are_of_all:
        yield from _imbalance(name, counts)
    if column.type == TEXT and (strays := find_strays(column, sample)):
        row = int(strays.rows[0])
        found = f"{counted(len(strays.rows), 'value')} of {len(column)}"
        yield (
            f"`{name}` is read as text because of {found} that can't be read as a {strays.noun}, the first "
            f"{shown(column[row].as_py())} in row {row}."
        )


def _shown(value: object) -> str:
    return shown(rfc3339(value) if isinstance(value, datetime) else value)


def _told_apart(column: pa.ChunkedArray, sample: pa.ChunkedArray, counts: Counts) -> int:
    """How many rows, from the first, have each a text of its own, or all whole numbers of a range; else 0."""
    if len(column) < _FEWEST_IDS or counts.distinct < len(sample):
        return 0
    if column.type not in (NUMBER, TEXT):
        return 0
    looked_at = verified_rows(column)
    if column.type == NUMBER:
        values = numbers(looked_at)
        if values.max() - values.min() != len(looked_at) - 1 or (values % 1).any():
            return 0
    return len(looked_at) if pc.count_distinct(looked_at).as_py() == len(looked_at) else 0


def _imbalance(name: str, counts: Counts) -> Iterator[str]:
    classes = counts.most_frequent() if 2 <= counts.distinct <= _MOST_CLASSES else []
    if classes and classes[0][1] >= _IMBALANCE * classes[-1][1]:
        (most, times), (least, fewest) = classes[0], classes[-1]
        yield f"`{name}` is out of balance: {shown(most)} is there {times} times, {shown(least)} {fewest}."


def _row_warnings(sample: pa.Table, rows: int) -> Iterator[str]:
    if repeated := repeated_rows(sample.columns):
        looked_at = f"the {rows}" if sample.num_rows == rows else f"{sample.num_rows} that were looked at"
        yield f"{counted(repeated, 'row')} of {looked_at} repeat an earlier one."


def _describe_tensors(dataset: TensorDataset) -> dict[str, Any]:
    columns = [_describe_tensor(name, tensor) for name, tensor in dataset.named()]
    warnings: list[str] = []
    if dataset.targets is not None and dataset.targets.ndim == 1:
        values = pa.chunked_array([pa.array(piece) for piece in slices(dataset.targets)])
        warnings += _imbalance("targets", count_values(values, values.slice(0, SAMPLE_ROWS)))
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
