"""What is too expensive to ask of all rows: distinct values, categories, histograms, repeated rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.columns import NUMBER, TEXT

SAMPLE_ROWS = 100_000
MOST_CATEGORIES = 100
BINS = 20

# Odd multipliers that mix a column's bits into a row's (splitmix64's).
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def histogram(values: NDArray[np.float64]) -> dict[str, list[Any]] | None:
    """About 20 bins of equal width: `edges` (one more than bins) and `counts`; None of equal values.

    Args:
        values: finite numbers, [rows].
    """
    if len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high or not np.isfinite(high - low):
        return None
    edges = np.linspace(low, high, BINS + 1)
    if not (np.diff(edges) > 0).all():  # so near to each other that no double lies between
        return None
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The values that are there."""
    return np.asarray(column.drop_null().to_numpy(), np.float64)


def categories(column: pa.ChunkedArray) -> tuple[list[Any], list[int]]:
    """The distinct values and how often each is there, the most frequent first, then ascending."""
    found = pc.value_counts(column.drop_null().combine_chunks())
    table = pa.table({"value": found.field("values"), "count": found.field("counts")})
    table = table.sort_by([("count", "descending"), ("value", "ascending")])
    return table["value"].to_pylist(), table["count"].to_pylist()


def distinct(column: pa.ChunkedArray) -> int:
    """How many different values there are."""
    return len(np.unique(numbers(column))) if column.type == NUMBER else len(column.drop_null().unique())


def repeated_rows(columns: Sequence[pa.ChunkedArray]) -> int:
    """How many rows equal one before them, told by a 64-bit mix of all their cells."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = (mixed ^ _cell_bits(column)) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(31))) * _MIX_2
    return len(mixed) - len(np.unique(mixed))


def _cell_bits(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Equal numbers for equal cells of a column, others for others."""
    if column.type == TEXT or column.null_count:
        codes = column.combine_chunks().dictionary_encode("encode").indices
        return np.asarray(codes).astype(np.uint64)
    if column.type == NUMBER:
        return np.asarray(column).view(np.uint64)
    return np.asarray(column.cast(pa.int64())).astype(np.uint64)
