"""Columns that are to be of another type than the one they were found to have."""

import pyarrow as pa

from service.datasets.sources.columns import as_type
from service.datasets.validation import Cells, ErrorCollector


def cast(column: pa.ChunkedArray, kind: str, cells: Cells) -> pa.ChunkedArray:
    """A column read as `numeric`, `boolean`, `categorical` or `datetime`, see `columns.as_type`.

    Args:
        column: [B].
        kind: the type wanted.
        cells: where cells that can't be read so are noted.
    """
    found = ErrorCollector()
    read = as_type(column, kind, str, found)
    for error in found.listed:
        row = int(cells.rows[int(error.pointer)])
        cells.errors.add(cells.place(row), f"`{cells.name}` in row {row}: {error.detail}")
    cells.errors.add_unlisted(found.count - len(found.listed))
    return read
