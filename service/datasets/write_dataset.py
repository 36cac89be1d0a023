"""Writing a dataset in the form that the service stores, with its digest and report, in one pass."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa

from service.datasets.dataset import Batches, TensorDataset, load_dataset
from service.datasets.profile.digest import TableDigest
from service.datasets.profile.report import describe
from service.datasets.profile.summary import TableSummary
from service.datasets.sources.formats import FileContent
from service.errors import ContentTooLarge

T = TypeVar("T")
DatasetType = Literal["tabular", "tensors"]


@dataclass(frozen=True)
class StoredDataset:
    """A dataset file that was written.

    Attributes:
        kind: `tabular` (columns by name) or `tensors` (named tensors).
        rows: Number of rows or samples.
        bytes: Size of the file.
        digest: Digest of the content, equal for equal content.
        report: Description of the columns, JSON-able; see `describe`.
        reading_warnings: Warnings about the reading of this file. They are no part of the report, since
            another file may have the same content.
    """

    kind: DatasetType
    rows: int
    bytes: int
    digest: str
    report: dict[str, Any]
    reading_warnings: Sequence[str] = ()


def write_dataset(content: FileContent, path: Path, max_bytes: int) -> StoredDataset:
    """Write a file that `load_dataset` can map.

    Args:
        content: A table or tensors.
        path: Path of the new file.
        max_bytes: Maximum size of the file of a table.

    Raises:
        InvalidRequest: The content has errors, found while it is read.
        ContentTooLarge: The file of a table would be larger than `max_bytes`.
    """
    if isinstance(content, TensorDataset):
        return _write_tensors(content, path)
    digest, summary = content.read(lambda batches: _write_table(batches, path, max_bytes))
    report = describe(load_dataset(path), summary)
    return StoredDataset("tabular", summary.rows, path.stat().st_size, digest, report, content.warnings)


def _write_table(batches: Batches, path: Path, max_bytes: int) -> tuple[str, TableSummary]:
    """Write the rows of a table, and compute its digest and its statistics."""
    first = next(batches)
    digest, summary = TableDigest(first.schema), TableSummary(first.schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        for batch in _prefetch(first, batches):
            writer.write_batch(batch)
            if file.tell() > max_bytes:
                raise ContentTooLarge(f"As stored, the dataset exceeds the limit of {max_bytes} bytes.")
            digest.add(batch)
            summary.add(batch)
    return digest.hexdigest(), summary


def _prefetch(first: T, others: Iterator[T]) -> Iterator[T]:
    """Yield the items, computing each in a thread while the consumer processes the one before."""
    with ThreadPoolExecutor(1) as thread:
        item: T | None = first
        while item is not None:
            following = thread.submit(next, others, None)
            yield item
            item = following.result()


def _write_tensors(dataset: TensorDataset, path: Path) -> StoredDataset:
    with path.open("wb") as file:
        dataset.write(file)
    return StoredDataset("tensors", dataset.rows, path.stat().st_size, dataset.digest, describe(dataset))
