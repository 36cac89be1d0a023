"""Parquet files as tables, read in pieces of row groups."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pyarrow import parquet

from service.datasets.dataset import Batches
from service.datasets.sources.arrow import ArrowTable
from service.datasets.sources.read_errors import refuse_unreadable
from service.specs.upload import ReadOptions

_BATCH_CELLS = 65_536


def read_parquet(
    path: Path,
    options: ReadOptions,
    selected: Collection[str] | None = None,
    known: Mapping[str, Collection[str]] | None = None,
) -> ArrowTable:
    """Open the table in a Parquet file; see `ArrowTable` for the arguments.

    Raises:
        InvalidRequest: The schema can't be read, or has errors.
    """
    with refuse_unreadable("Parquet"):
        file = parquet.ParquetFile(path, memory_map=True)

        def open_batches() -> Batches:
            yield from file.iter_batches(batch_size=max(1, _BATCH_CELLS // len(file.schema_arrow)))

        return ArrowTable(file.schema_arrow, open_batches, "Parquet", options, selected, known)
