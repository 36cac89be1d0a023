"""Parquet files as tables, read in pieces of row groups."""

import base64
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from service.datasets.dataset import Batches
from service.datasets.sources.arrow import ArrowTable
from service.datasets.sources.read_errors import refuse_unreadable
from service.specs.upload import ReadOptions

_BATCH_CELLS = 65_536
_ARROW_SCHEMA = b"ARROW:schema"


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

        schema, written = file.schema_arrow, _written_schema(file)
        return ArrowTable(schema, open_batches, "Parquet", options, selected, known, written)


def _written_schema(file: parquet.ParquetFile) -> pa.Schema | None:
    """Return the schema that Arrow stores with a file; None if another program wrote it."""
    stored = (file.metadata.metadata or {}).get(_ARROW_SCHEMA)
    return None if stored is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
