"""Statistics that are too expensive for all rows: histograms, repeated rows, and counts of many values."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.sources.columns import INTEGER, NUMBER, TEXT

SAMPLE_ROWS = 100_000
_SAMPLE_SLICES = 100
MAX_COUNTED = 10_000
_MAX_COUNTED_SAMPLE_BYTES = 64 * 2**20
_LEADING_BYTES = 64 * 2**20
MAX_CATEGORIES = 100
BINS = 20

# Odd multipliers of splitmix64, which mix the bits of a row's cells.
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def histogram(values: NDArray[np.float64]) -> dict[str, list[Any]] | None:
    """Compute a histogram of 20 bins of equal width.

    Args:
        values: Finite numbers, [n].

    Returns:
        `edges` [21] and `counts` [20]; None if all values are equal or too close to be divided into bins.
    """
    if len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high or not np.isfinite(high - low):
        return None
    edges = np.linspace(low, high, BINS + 1)
    if not (np.diff(edges) > 0).all():  # fewer than 20 doubles between the extremes
        return None
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return the values of a column that are not missing, float64 [values]."""
    return np.asarray(column.drop_null().to_numpy(), np.float64)


def spread_sample(table: pa.Table) -> pa.Table:
    """Return up to 100,000 rows in order: all rows, or 100 slices at equal distances."""
    if table.num_rows <= SAMPLE_ROWS:
        return table
    size = SAMPLE_ROWS // _SAMPLE_SLICES
    starts = np.linspace(0, table.num_rows - size, _SAMPLE_SLICES).astype(int).tolist()
    return pa.concat_tables([table.slice(start, size) for start in starts])


class Counts(NamedTuple):
    """Frequencies of the values of a column.

    Attributes:
        distinct: Number of distinct values.
        by_value: Value → number of rows; empty for numbers and times with more than 10,000 distinct values.
        is_complete: Whether all rows were counted, not only a sample.
    """

    distinct: int
    by_value: Counter[Any]
    is_complete: bool

    def most_frequent(self) -> list[tuple[Any, int]]:
        """Return values with their frequencies, by descending frequency, then by ascending value."""
        return sorted(self.by_value.items(), key=lambda item: (-item[1], item[0]))


def count_values(column: pa.ChunkedArray, sample: pa.ChunkedArray) -> Counts:
    """Count the values of all rows, or of a sample if there are more than 10,000 or texts are long.

    Args:
        column: [rows]; read chunk by chunk.
        sample: Some rows of the column.
    """
    distinct = pc.count_distinct(sample).as_py()
    if distinct <= MAX_COUNTED and sample.nbytes <= _MAX_COUNTED_SAMPLE_BYTES:
        counts = _count(column, MAX_COUNTED)
        if counts is not None:
            return Counts(len(counts), counts, True)
    counts = _count(sample, math.inf) if column.type == TEXT else None
    return Counts(distinct, counts or Counter(), len(sample) == len(column))


def _count(column: pa.ChunkedArray, max_distinct: float) -> Counter[Any] | None:
    """Count values; None if there are more than `max_distinct`."""
    counts: Counter[Any] = Counter()
    for chunk in column.chunks:
        values, frequencies = pc.value_counts(chunk.drop_null()).flatten()
        if len(values) <= max_distinct:
            counts.update(dict(zip(values.to_pylist(), frequencies.to_pylist(), strict=True)))
        if max(len(values), len(counts)) > max_distinct:
            return None
    return counts


def leading_rows(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the first rows of a column, at least 100,000 and up to about 64 MiB."""
    rows = len(column) * _LEADING_BYTES // max(1, column.nbytes)
    return column.slice(0, max(rows, SAMPLE_ROWS))


def count_repeated_rows(columns: Sequence[pa.ChunkedArray]) -> int:
    """Count the rows that equal an earlier one, by 64-bit hashes of all their cells."""
    hashes = np.zeros(len(columns[0]), np.uint64)  # [rows]
    for column in columns:
        hashes = (hashes ^ _cell_bits(column)) * _MIX_1
        hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX_2
    return len(hashes) - len(np.unique(hashes))


def _cell_bits(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Map equal cells of a column to equal integers and different cells to different ones, uint64 [rows]."""
    if column.type == TEXT or column.null_count:
        codes = column.combine_chunks().dictionary_encode("encode").indices
        return np.asarray(codes).astype(np.uint64)
    if column.type == NUMBER:
        return np.asarray(column).view(np.uint64)
    return np.asarray(column.cast(INTEGER)).astype(np.uint64)
