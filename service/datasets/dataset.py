"""The two types of dataset, tables and named tensors, and their files, which contain no pickles."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa

from service.datasets import tensor_file
from service.datasets.profile.digest import READ_GAPS, TableDigest, tensor_digest
from service.specs.upload import ReadOptions

Tensor = tensor_file.Tensor
T = TypeVar("T")
Batches = Iterator[pa.RecordBatch]

_ARROW_FILE = b"ARROW1"
_INPUT, _TARGETS, _WEIGHTS = "inputs", "targets", "weights"
_OPTIONS, _CATEGORIES = b"reading", b"categories"


def with_options(
    table: pa.Table,
    options: ReadOptions,
    categories: Mapping[str, Sequence[str]] | None = None,
    reads_gaps: bool = True,
) -> pa.Table:
    """Return a table whose schema says how it was read.

    Args:
        table: The table.
        options: The options by which it was read; types of columns are omitted.
        categories: Categories, in their order, of columns whose categories have an order.
        reads_gaps: Whether words for a missing value were read as such, so that they are lost.
    """
    metadata = {}
    document = options.model_dump_json(exclude_unset=True, exclude={"types"})
    if document != "{}":
        metadata[_OPTIONS] = document
    if categories:
        metadata[_CATEGORIES] = json.dumps(categories)
    if reads_gaps:
        metadata[READ_GAPS] = "words"
    return table.replace_schema_metadata(metadata or None)


def options_of(schema: pa.Schema) -> ReadOptions:
    """Return the options in a schema, see `with_options`."""
    return ReadOptions.model_validate_json((schema.metadata or {}).get(_OPTIONS, b"{}"))


@dataclass(frozen=True, eq=False)
class TabularDataset:
    """A table of columns by name.

    Attributes:
        table: Columns of int64, float64, bool, large_string or timestamp[us] (UTC), in any number of chunks,
            in memory or mapped from a file; null where a value is missing.
        warnings: What the client should know about its reading, as sentences.
        as_sent: Columns of ids by name, with the values that the client sent; empty for a stored dataset.
    """

    table: pa.Table
    warnings: Sequence[str] = ()
    as_sent: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def options(self) -> ReadOptions:
        """The options by which the table was read, as far as they were set."""
        return options_of(self.table.schema)

    @property
    def reads_gaps(self) -> bool:
        """Whether words for a missing value were read as such, so that a null may have been any of them."""
        return READ_GAPS in (self.table.schema.metadata or {})

    @property
    def categories(self) -> Mapping[str, Sequence[str]]:
        """The categories, in their order, of columns whose categories have an order."""
        found: Mapping[str, Sequence[str]] = json.loads(
            (self.table.schema.metadata or {}).get(_CATEGORIES, b"{}")
        )
        return found

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.table.num_rows)

    @property
    def nbytes(self) -> int:
        """The size of the values in bytes."""
        return int(self.table.nbytes)

    def read(self, consume: Callable[[Batches], T]) -> T:
        """Read the rows like those of a file; see `TableReader.read`."""
        return consume(iter(self.table.to_batches()))

    def to_bytes(self) -> bytes:
        """Return the table as an Arrow IPC file."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return bytes(sink.getvalue())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, types and values, in hexadecimal; independent of format and chunks."""
        digest = TableDigest(self.table.schema)
        for batch in self.table.to_batches():
            digest.add(batch)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TensorDataset:
    """Named tensors, whose first dimension is the samples.

    Attributes:
        inputs: Inputs by name, bool, uint8, signed integers or floats [B, …], in memory or mapped from a file
            (then read-only). A single input is called `input`.
        targets: Likewise [B, …]; None for data without labels. NaN is a missing target.
        weights: Weights of the samples [B]; None if all are 1.
    """

    inputs: dict[str, Tensor]
    targets: Tensor | None = None
    weights: Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def nbytes(self) -> int:
        """The size of the values in bytes."""
        return sum(tensor.nbytes for _, tensor in self.named_tensors())

    def named_tensors(self) -> list[tuple[str, Tensor]]:
        """Return all tensors with their names: the inputs, `targets` and `weights`."""
        return [*self.inputs.items(), *self._labels().items()]

    def _labels(self) -> dict[str, Tensor]:
        """Return the tensors that are not inputs, by name."""
        labels = {_TARGETS: self.targets, _WEIGHTS: self.weights}
        return {name: tensor for name, tensor in labels.items() if tensor is not None}

    def write(self, file: IO[bytes]) -> None:
        """Write a safetensors file. Inputs are numbered because the format does not keep their order."""
        numbered = {
            f"{_INPUT}.{number}.{name}": tensor for number, (name, tensor) in enumerate(self.inputs.items())
        }
        tensor_file.write_tensors(file, numbered | self._labels())

    def to_bytes(self) -> bytes:
        """Return the tensors as a safetensors file."""
        sink = io.BytesIO()
        self.write(sink)
        return sink.getvalue()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, dtypes, shapes and values, in hexadecimal."""
        return tensor_digest(len(self.inputs), self.named_tensors())


Dataset = TabularDataset | TensorDataset


def load_dataset(path: Path) -> Dataset:
    """Map a file that the service has written, without copying values."""
    with path.open("rb") as file:
        is_table = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    if is_table:
        return TabularDataset(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
    tensors = tensor_file.map_tensors(path)
    targets, weights = tensors.pop(_TARGETS, None), tensors.pop(_WEIGHTS, None)
    # Keys are `inputs.<number>.<name>`; the name may contain further dots.
    keys = sorted((key.split(".", 2) for key in tensors), key=lambda parts: int(parts[1]))
    return TensorDataset({parts[2]: tensors[".".join(parts)] for parts in keys}, targets, weights)
