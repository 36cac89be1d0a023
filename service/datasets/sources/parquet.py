"""A Parquet file as a table, read a piece of a row group at a time."""

from collections.abc import Collection
from pathlib import Path

from pyarrow import parquet

from service.datasets.dataset import Batches
from service.datasets.sources.arrow import ArrowTable
from service.datasets.sources.read_errors import refusing
from service.specs.upload import ReadOptions

_ROWS_AT_ONCE = 65_536


def read_parquet(path: Path, options: ReadOptions, taken: Collection[str] | None = None) -> ArrowTable:
    """The table in a Parquet file."""
    with refusing("Parquet"):
        file = parquet.ParquetFile(path, memory_map=True)

        def batches() -> Batches:
            yield from file.iter_batches(batch_size=max(1, _ROWS_AT_ONCE // len(file.schema_arrow)))

        return ArrowTable(file.schema_arrow, batches, "Parquet", options, taken)
