"""Exact statistics of columns and tensors that come in pieces: one pass, nothing kept but the figures."""

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import BOOLEAN, DATETIME, NUMBER
from service.datasets.timestamps import rfc3339


class TableSummary:
    """The statistics of each column of a table that comes in batches."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self.columns = {field.name: ColumnSummary(field.type) for field in schema}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        self.rows += batch.num_rows
        for chunk, column in zip(batch.columns, self.columns.values(), strict=True):
            column.add(chunk)


class ColumnSummary:
    """The statistics of one column.

    Attributes:
        count: how many values there are.
        missing: in how many rows there is none.
        min, max: None while there is no value, and of text.
        mean: of numbers, and of booleans the share that is true.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self.count = self.missing = 0
        self.min: Any = None
        self.max: Any = None
        self.mean = 0.0
        self._squares = 0.0  # Σ (x − mean)²

    def add(self, chunk: pa.Array) -> None:
        """Take the next rows."""
        count = len(chunk) - chunk.null_count
        self.missing += chunk.null_count
        if count and self._kind in (NUMBER, BOOLEAN):
            self._add_moments(chunk, count)
        if count and self._kind in (NUMBER, DATETIME):
            self._add_extremes(pc.min_max(chunk).as_py())
        self.count += count

    def _add_moments(self, chunk: pa.Array, count: int) -> None:
        """Chan, Golub and LeVeque's update of mean and squares by those of a further part."""
        mean, variance = pc.mean(chunk).as_py(), pc.variance(chunk.cast(NUMBER)).as_py()
        total, step = self.count + count, mean - self.mean
        self.mean += step * (count / total)
        self._squares += variance * count + step * step * (self.count * count / total)

    def _add_extremes(self, found: Mapping[str, Any]) -> None:
        self.min = found["min"] if self.min is None else min(self.min, found["min"])
        self.max = found["max"] if self.max is None else max(self.max, found["max"])

    def document(self) -> dict[str, Any]:
        """The figures that the column's type has, JSON-able; null where a sum is beyond a double."""
        head = {"count": self.count, "missing": self.missing}
        if self._kind == NUMBER:
            there = self.count > 0
            std = math.sqrt(self._squares / self.count) if there and self._squares >= 0 else None
            mean = _finite(self.mean) if there else None
            return head | {"min": self.min, "max": self.max, "mean": mean, "std": _finite(std)}
        if self._kind == BOOLEAN:
            return head | {"mean": self.mean if self.count else None}
        if self._kind == DATETIME:
            return head | {"min": rfc3339(self.min), "max": rfc3339(self.max)}
        return head


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
