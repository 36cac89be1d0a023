"""A source as the file that the service keeps: written, hashed and summarized in one pass."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa

from service.datasets.dataset import Batches, TensorDataset, load_dataset
from service.datasets.profile.digest import TableDigest
from service.datasets.profile.report import describe
from service.datasets.profile.summary import TableSummary
from service.datasets.sources.formats import Source
from service.errors import ContentTooLarge

T = TypeVar("T")
Kind = Literal["tabular", "tensors"]


@dataclass(frozen=True)
class Stored:
    """What was written.

    Attributes:
        kind: columns by name, or named tensors.
        rows: number of samples.
        bytes: size of the file.
        digest: tells equal content.
        report: what was found about the columns, JSON-able.
    """

    kind: Kind
    rows: int
    bytes: int
    digest: str
    report: dict[str, Any]


def store(source: Source, path: Path, most_bytes: int) -> Stored:
    """Write what a source holds as a file that `load_dataset` maps.

    Args:
        source: rows, or tensors.
        path: the file to be made.
        most_bytes: of the file.

    Raises:
        InvalidRequest: what the source finds wrong while it is read.
        ContentTooLarge: there is more in it.
    """
    if isinstance(source, TensorDataset):
        return _store_tensors(source, path)
    digest, summary = source.read(lambda batches: _write_table(batches, path, most_bytes))
    dataset = load_dataset(path)
    report = describe(dataset, summary)
    return Stored("tabular", summary.rows, path.stat().st_size, digest, report)


def _write_table(batches: Batches, path: Path, most_bytes: int) -> tuple[str, TableSummary]:
    """The digest and the summary of rows that were written while the next ones were read."""
    first = next(batches)
    digest, summary = TableDigest(first.schema), TableSummary(first.schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        for batch in _ahead(first, batches):
            writer.write_batch(batch)
            if file.tell() > most_bytes:
                raise ContentTooLarge(f"As stored, it has more than the {most_bytes} bytes that are taken.")
            digest.add(batch)
            summary.add(batch)
    return digest.hexdigest(), summary


def _ahead(first: T, others: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread of its own while the one before is worked on."""
    with ThreadPoolExecutor(1) as thread:
        item: T | None = first
        while item is not None:
            following = thread.submit(next, others, None)
            yield item
            item = following.result()


def _store_tensors(dataset: TensorDataset, path: Path) -> Stored:
    with path.open("wb") as file:
        dataset.write(file)
    return Stored("tensors", dataset.rows, path.stat().st_size, dataset.digest, describe(dataset))
