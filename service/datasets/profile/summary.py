"""Exact statistics of tables and columns, computed in one pass over their batches."""

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import BOOLEAN, DATETIME, INTEGER, NUMBER
from service.datasets.timestamps import rfc3339


class TableSummary:
    """Statistics of each column of a table, updated batch by batch.

    Args:
        schema: Columns of the column types.

    Attributes:
        rows: Number of rows.
        columns: Statistics by column name.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self.columns = {field.name: ColumnSummary(field.type) for field in schema}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the next rows."""
        self.rows += batch.num_rows
        for chunk, column in zip(batch.columns, self.columns.values(), strict=True):
            column.add(chunk)


class ColumnSummary:
    """Statistics of one column, updated chunk by chunk.

    Args:
        arrow_type: One of the column types.

    Attributes:
        count: Number of values.
        missing: Number of missing values.
        min: Smallest value of numbers or times; None if there are no values.
        max: Largest value of numbers or times; None if there are no values.
        mean: Mean of numbers; share of true of booleans.
    """

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self.count = self.missing = 0
        self.min: Any = None
        self.max: Any = None
        self.mean = 0.0
        self._squares = 0.0  # Σ (x − mean)²

    def add(self, chunk: pa.Array) -> None:
        """Add the next rows."""
        count = len(chunk) - chunk.null_count
        self.missing += chunk.null_count
        if count and self._type in (INTEGER, NUMBER, BOOLEAN):
            self._add_moments(chunk, count)
        if count and self._type in (INTEGER, NUMBER, DATETIME):
            self._add_extremes(pc.min_max(chunk).as_py())
        self.count += count

    def _add_moments(self, chunk: pa.Array, count: int) -> None:
        """Update mean and sum of squares by those of a chunk (Chan, Golub and LeVeque 1983)."""
        mean, variance = pc.mean(chunk).as_py(), pc.variance(chunk.cast(NUMBER, safe=False)).as_py()
        total, delta = self.count + count, mean - self.mean
        self.mean += delta * (count / total)
        self._squares += variance * count + delta * delta * (self.count * count / total)

    def _add_extremes(self, extremes: Mapping[str, Any]) -> None:
        self.min = extremes["min"] if self.min is None else min(self.min, extremes["min"])
        self.max = extremes["max"] if self.max is None else max(self.max, extremes["max"])

    def document(self) -> dict[str, Any]:
        """Return the statistics that the column's type has, JSON-able; null if a sum exceeds a double."""
        counts = {"count": self.count, "missing": self.missing}
        if self._type in (INTEGER, NUMBER):
            has_values = self.count > 0
            # An overflow makes `_squares` infinite or NaN; the comparison is false for NaN.
            std = math.sqrt(self._squares / self.count) if has_values and self._squares >= 0 else None
            mean = _finite_or_none(self.mean) if has_values else None
            return counts | {"min": self.min, "max": self.max, "mean": mean, "std": _finite_or_none(std)}
        if self._type == BOOLEAN:
            return counts | {"mean": self.mean if self.count else None}
        if self._type == DATETIME:
            return counts | {"min": rfc3339(self.min), "max": rfc3339(self.max)}
        return counts


def _finite_or_none(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
