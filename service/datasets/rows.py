"""Which rows of a dataset are meant: all of them, as a range, or those that were not left out."""

from typing import TypeAlias

import pyarrow as pa
import torch

Rows: TypeAlias = range | torch.Tensor
"""Row numbers from 0, ascending: a range, or int64 [n]."""


def as_tensor(rows: Rows) -> torch.Tensor:
    """The numbers, int64 [n]."""
    return rows if isinstance(rows, torch.Tensor) else torch.arange(rows.start, rows.stop)


def rows_of(column: pa.ChunkedArray, rows: Rows) -> pa.ChunkedArray:
    """Some rows of a column, or of a table."""
    if isinstance(rows, range):
        return column.slice(rows.start, len(rows))
    return column.take(pa.array(rows.numpy()))
