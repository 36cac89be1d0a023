"""Reading files as tables, with the warnings of their readers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.datasets.dataset import TensorDataset
from service.datasets.sources.formats import detect_format, open_file
from service.specs.upload import ReadOptions
from tests.support.files import MAX_BYTES, read_all, temporary_file


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
    with temporary_file(content.encode() if isinstance(content, str) else content) as path:
        source = open_file(path, detect_format(path, None), ReadOptions(**options), MAX_BYTES, selected)
        assert not isinstance(source, TensorDataset)
        return ReadTable(read_all(source).to_pydict(), source.warnings)
