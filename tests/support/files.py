"""Writing and reading files of every format."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from service.datasets.dataset import TensorDataset
from service.datasets.sources.compression import decompress
from service.datasets.sources.formats import FileContent, TableReader, detect_format, open_file
from service.helper.request_bodies import parse_table, read_content
from service.specs.upload import Format, ReadOptions

MAX_BYTES = 10_000_000


@contextmanager
def temporary_file(content: bytes) -> Iterator[Path]:
    """Yield the path of a file with this content; delete it at the end."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "body"
        path.write_bytes(content)
        yield path


def read_all(reader: TableReader) -> pa.Table:
    """Read all rows of a table."""
    return reader.read(lambda batches: pa.Table.from_batches(list(batches)))


def read(
    content: bytes, declared: Format | None = None, selected: Sequence[str] | None = None, **options: Any
) -> pa.Table | TensorDataset:
    """Read the content of a file as a table in memory or as mapped tensors.

    Args:
        content: The file, compressed or not.
        declared: Its format; None to detect it.
        selected: Names of the columns to read; None for all.
        options: Read options by name.
    """
    return read_with_warnings(content, declared, selected, **options)[0]


def read_with_warnings(
    content: bytes, declared: Format | None = None, selected: Sequence[str] | None = None, **options: Any
) -> tuple[pa.Table | TensorDataset, Sequence[str]]:
    """Read the content of a file as `read` does; return also the warnings about its reading."""
    with temporary_file(content) as sent:
        path = decompress(sent, None, MAX_BYTES)
        name = detect_format(path, declared)
        source: FileContent
        if name == "json":
            source, _ = read_content(parse_table(path.read_bytes()), ReadOptions(**options))
        else:
            source = open_file(path, name, ReadOptions(**options), MAX_BYTES, selected)
        if isinstance(source, TensorDataset):
            return source, ()
        table = read_all(source)
        return table, source.warnings


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    """Return a table as a Parquet file."""
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def as_arrow(
    table: pa.Table, rows_at_once: int = 1000, stream: bool = False, compression: str | None = None
) -> bytes:
    """Return a table as an Arrow IPC file or stream with record batches of `rows_at_once` rows."""
    sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows_at_once)
    return bytes(sink.getvalue())


def as_npz(arrays: dict[str, NDArray[Any]], compressed: bool = False) -> bytes:
    """Return arrays as an NPZ file."""
    sink = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(sink, **arrays)
    return sink.getvalue()
