"""What is too expensive to ask of all rows: histograms, repeated rows, and values when there are many."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.datasets.sources.columns import NUMBER, TEXT

SAMPLE_ROWS = 100_000
_SLICES = 100  # of a sample
MOST_COUNTED = 10_000
_MOST_COUNTED_BYTES = 64 * 2**20  # of a sample
_VERIFIED_BYTES = 64 * 2**20
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


def spread_sample(table: pa.Table) -> pa.Table:
    """Rows from all over a table, in order: slices at equal distances, or all rows where they are few."""
    if table.num_rows <= SAMPLE_ROWS:
        return table
    size = SAMPLE_ROWS // _SLICES
    starts = np.linspace(0, table.num_rows - size, _SLICES).astype(int).tolist()
    return pa.concat_tables([table.slice(start, size) for start in starts])


class Counts(NamedTuple):
    """How often each value of a column is there.

    Attributes:
        distinct: how many different values there are.
        by_value: value → how many rows have it; empty where very many numbers or times are different.
        are_of_all: whether all rows were counted, or those of a sample.
    """

    distinct: int
    by_value: Counter[Any]
    are_of_all: bool

    def most_frequent(self) -> list[tuple[Any, int]]:
        """Values and how often each is there, the most frequent first, then ascending."""
        return sorted(self.by_value.items(), key=lambda item: (-item[1], item[0]))


def count_values(column: pa.ChunkedArray, sample: pa.ChunkedArray) -> Counts:
    """The values of all rows; of a sample where more than 10,000 are different, or texts are long.

    Args:
        column: [rows]; it is read chunk by chunk.
        sample: rows of it.
    """
    distinct = pc.count_distinct(sample).as_py()
    if distinct <= MOST_COUNTED and sample.nbytes <= _MOST_COUNTED_BYTES:
        counts = _counted(column, MOST_COUNTED)
        if counts is not None:
            return Counts(len(counts), counts, True)
    counts = _counted(sample, math.inf) if column.type == TEXT else None
    return Counts(distinct, counts or Counter(), len(sample) == len(column))


def _counted(column: pa.ChunkedArray, most: float) -> Counter[Any] | None:
    """None where there are more different values than `most`."""
    counts: Counter[Any] = Counter()
    for chunk in column.chunks:
        values, frequencies = pc.value_counts(chunk.drop_null()).flatten()
        if len(values) <= most:
            counts.update(dict(zip(values.to_pylist(), frequencies.to_pylist(), strict=True)))
        if max(len(values), len(counts)) > most:
            return None
    return counts


def verified_rows(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The first rows, as many as can be looked at together: all of them, unless they are very many."""
    rows = len(column) * _VERIFIED_BYTES // max(1, column.nbytes)
    return column.slice(0, max(rows, SAMPLE_ROWS))


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
