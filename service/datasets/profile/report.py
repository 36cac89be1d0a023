"""The report on a dataset: statistics of each column, and warnings about suspicious content."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.profile.hints import compact_date_warnings, find_hint, hint_warnings
from service.datasets.profile.sampling import (
    MAX_CATEGORIES,
    SAMPLE_ROWS,
    Counts,
    count_repeated_rows,
    count_values,
    histogram,
    leading_rows,
    numbers,
    spread_sample,
)
from service.datasets.profile.summary import ColumnSummary, TableSummary
from service.datasets.sources.cell_texts import are_numbers
from service.datasets.sources.columns import BOOLEAN, COLUMN_TYPES, INTEGER, NUMBER, TEXT
from service.datasets.sources.text_hints import TextHint
from service.datasets.tensor_file import Tensor, slices
from service.datasets.timestamps import rfc3339
from service.datasets.validation import count_of, quote_value

_MIN_ID_ROWS = 20  # the values of fewer rows may all differ by chance
_MAX_EXACT_INTEGER = 2**53
_MAX_CLASSES = 20
_MAX_CATEGORY_CHARACTERS = 200
_IMBALANCE_RATIO = 20  # of the most frequent class to the rarest


def describe(dataset: Dataset, summary: TableSummary | None = None) -> dict[str, Any]:
    """Describe the columns of a dataset and what is suspicious about them.

    Args:
        dataset: In memory, or mapped from a file.
        summary: Statistics of a table, if they were computed while it was written.

    Returns:
        A JSON-able report:

        - `rows`, and `sampled_rows`: rows that sampled values are taken from, spread over all rows.
        - `columns`: For each, name, type, `count` and `missing`; `min`, `max`, `mean` and `std` (ddof = 0) of
          numbers; `mean` (the share of true) of booleans; `min` and `max` of times; `shape` [B, …] and
          `dtype` of tensors. All of these are exact. `distinct`, and the 100 most frequent `categories` with
          their `category_counts`, are exact unless there are more than 10,000 distinct values; then they are
          those of the sample. `histogram` is always that of the sample.
        - `warnings`: Sentences about suspicious columns and rows.
    """
    if isinstance(dataset, TensorDataset):
        return _describe_tensors(dataset)
    sample = spread_sample(dataset.table)
    summary = summary or _summarize(dataset)
    columns, warnings = [], list(_name_warnings(dataset.table.column_names))
    hints: dict[str, TextHint] = {}
    for name, column in summary.columns.items():
        values, counts = dataset.table[name], count_values(dataset.table[name], sample[name])
        columns.append(_describe_column(name, sample[name], column, counts))
        hint = find_hint(values, sample[name], dataset.options) if values.type == TEXT else None
        warnings += _warnings(name, values, sample[name], column, counts, hint is not None)
        if isinstance(hint, str):
            warnings.append(f"`{name}` {hint}")
        elif hint is not None:
            hints[name] = hint
    warnings += hint_warnings(hints)
    return {
        "rows": dataset.rows,
        "sampled_rows": sample.num_rows,
        "columns": columns,
        "warnings": [*warnings, *_row_warnings(sample, dataset.rows)],
    }


def _summarize(dataset: TabularDataset) -> TableSummary:
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
        most_frequent = counts.most_frequent()[:MAX_CATEGORIES]
        document["categories"] = [_truncate(value) for value, _ in most_frequent]
        document["category_counts"] = [count for _, count in most_frequent]
    if sample.type in (INTEGER, NUMBER):
        document["histogram"] = histogram(numbers(sample))
    return document


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_CATEGORY_CHARACTERS else f"{text[:_MAX_CATEGORY_CHARACTERS]}…"


def _name_warnings(names: list[str]) -> Iterator[str]:
    is_number = are_numbers(pa.array(names, TEXT)).to_pylist()
    if is_number[0] or 2 * sum(is_number) > len(names):
        listed = [f"`{name}`" for name, found in zip(names, is_number, strict=True) if found]
        remedy = "if the first line of a CSV is a row, send `?header=false`; if it is no part of the table"
        yield f"Column names are numbers, e.g. {', '.join(listed[:3])}; {remedy}, `?skip_lines=1`."


def _warnings(
    name: str,
    column: pa.ChunkedArray,
    sample: pa.ChunkedArray,
    summary: ColumnSummary,
    counts: Counts,
    has_hint: bool,
) -> Iterator[str]:
    if summary.count == 0:
        yield f"`{name}` has no values."
    elif counts.is_complete and counts.distinct == 1 < summary.count:
        (value,) = counts.by_value
        yield f"`{name}` is constant: each value is {quote_value(_to_json(value))}."
    elif not has_hint and (rows := _count_id_rows(column, sample, counts)):
        each = "each row" if rows == len(column) else f"each of the first {rows} rows"
        yield f"`{name}` has a different value in {each}, like an id; a model can't learn from it."
    elif column.type in (TEXT, BOOLEAN) and counts.is_complete:
        yield from _imbalance_warnings(name, counts)
    if summary.missing > summary.count > 0:
        yield f"`{name}` is missing in {summary.missing} of {len(column)} rows."
    if column.type == INTEGER:
        yield from compact_date_warnings(name, sample, summary)
    if column.type == INTEGER and max(map(abs, (summary.min or 0, summary.max or 0))) >= _MAX_EXACT_INTEGER:
        yield (
            f"`{name}` has integers beyond 2**53; they are stored exactly, but as a number in a model "
            f"neighbours are equal. For ids or codes upload with `types={name}:categorical`."
        )


def _count_id_rows(column: pa.ChunkedArray, sample: pa.ChunkedArray, counts: Counts) -> int:
    """Return the number of leading rows in which a column looks like an id; 0 if it does not.

    It does if its texts are all different, or if its numbers are all the integers of a range.
    """
    if len(column) < _MIN_ID_ROWS or counts.distinct < len(sample):
        return 0
    if column.type not in (INTEGER, NUMBER, TEXT):
        return 0
    leading = leading_rows(column)
    if column.type != TEXT:
        values = numbers(leading)
        if values.max() - values.min() != len(leading) - 1 or (values % 1).any():
            return 0
    return len(leading) if pc.count_distinct(leading).as_py() == len(leading) else 0


def _imbalance_warnings(name: str, counts: Counts) -> Iterator[str]:
    classes = counts.most_frequent() if 2 <= counts.distinct <= _MAX_CLASSES else []
    if classes and classes[0][1] >= _IMBALANCE_RATIO * classes[-1][1]:
        (frequent, most), (rare, least) = classes[0], classes[-1]
        counts_text = f"{quote_value(frequent)} occurs {count_of(most, 'time')}, {quote_value(rare)} {least}"
        yield f"`{name}` is imbalanced: {counts_text}."


def _row_warnings(sample: pa.Table, rows: int) -> Iterator[str]:
    if repeated := count_repeated_rows(sample.columns):
        checked = f"{sample.num_rows} {'rows' if sample.num_rows == rows else 'sampled rows'}"
        yield f"{repeated} of {checked} {'repeats' if repeated == 1 else 'repeat'} an earlier one."


def _describe_tensors(dataset: TensorDataset) -> dict[str, Any]:
    columns = [_describe_tensor(name, tensor) for name, tensor in dataset.named_tensors()]
    warnings: list[str] = []
    if dataset.targets is not None and dataset.targets.ndim == 1:
        values = pa.chunked_array([pa.array(piece) for piece in slices(dataset.targets)])
        warnings += _imbalance_warnings("targets", count_values(values, values.slice(0, SAMPLE_ROWS)))
    sampled_rows = min(dataset.rows, SAMPLE_ROWS)
    return {"rows": dataset.rows, "sampled_rows": sampled_rows, "columns": columns, "warnings": warnings}


def _describe_tensor(name: str, tensor: Tensor) -> dict[str, Any]:
    summary = ColumnSummary(NUMBER)
    for piece in slices(tensor):
        summary.add(pa.array(piece.reshape(-1).astype(np.float64), from_pandas=True))  # NaN is missing
    samples = max(1, SAMPLE_ROWS * len(tensor) // tensor.size)
    return {
        "name": name,
        "type": "tensor",
        **summary.document(),
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        "histogram": histogram(_present(tensor[:samples].reshape(-1).astype(np.float64))),
    }


def _present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def read_rows(dataset: Dataset, offset: int, limit: int) -> list[dict[str, Any]]:
    """Read a page of rows, JSON-able.

    Args:
        dataset: The dataset.
        offset: Number of the first row, from 0.
        limit: Maximum number of rows.

    Returns:
        For each row, an object of its columns, or of `inputs`, `targets` and `weights`.
    """
    if isinstance(dataset, TabularDataset):
        page: list[dict[str, Any]] = dataset.table.slice(offset, limit).to_pylist()
        return [{name: _to_json(value) for name, value in row.items()} for row in page]
    end = min(offset + limit, dataset.rows)
    return [_read_sample(dataset, number) for number in range(offset, end)]


def _to_json(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value


def _read_sample(dataset: TensorDataset, number: int) -> dict[str, Any]:
    sample: dict[str, Any] = {
        "inputs": {name: tensor[number].tolist() for name, tensor in dataset.inputs.items()}
    }
    if dataset.targets is not None:
        sample["targets"] = dataset.targets[number].tolist()
    if dataset.weights is not None:
        sample["weights"] = dataset.weights[number].tolist()
    return sample
