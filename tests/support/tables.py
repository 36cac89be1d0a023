"""Reading files as tables, with the warnings of their readers."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from service.datasets.dataset import TensorDataset
from service.datasets.sources.formats import detect_format, open_file
from service.specs.upload import ReadOptions
from tests.support.files import MAX_BYTES


class ReadTable(NamedTuple):
    """A table with the warnings of its reader."""

    columns: dict[str, list[Any]]
    warnings: Sequence[str]


def read_table(content: bytes | str, selected: Sequence[str] | None = None, **options: Any) -> ReadTable:
    """Read a file whose format is detected.

    Args:
        content: The file.
        selected: Names of the columns to read; None for all.
        options: Read options by name.
    """
    path = Path(tempfile.mkdtemp(prefix="fitserve-test-")) / "body"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = open_file(path, detect_format(path, None), ReadOptions(**options), MAX_BYTES, selected)
    assert not isinstance(source, TensorDataset)
    table = source.read(lambda batches: pa.Table.from_batches(list(batches)))
    return ReadTable(table.to_pydict(), source.warnings)
