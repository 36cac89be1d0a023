"""Row numbers of a dataset, and the selection of rows by them."""

from typing import TypeAlias

import pyarrow as pa
import torch

Rows: TypeAlias = range | torch.Tensor
"""Row numbers from 0, ascending: a range, or int64 [n]."""


def as_tensor(rows: Rows) -> torch.Tensor:
    """Return the row numbers as a tensor, int64 [n]."""
    return rows if isinstance(rows, torch.Tensor) else torch.arange(rows.start, rows.stop)


def select_rows(column: pa.ChunkedArray, rows: Rows) -> pa.ChunkedArray:
    """Return the given rows of a column or of a table; no copy for a range."""
    if isinstance(rows, range):
        return column.slice(rows.start, len(rows))
    return column.take(pa.array(rows.numpy()))
