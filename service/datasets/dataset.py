"""A dataset: a table of columns, or named tensors. Stored without pickle, known by its content."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TypeVar

import pyarrow as pa

from service.datasets import tensor_file
from service.datasets.profile.digest import TableDigest, tensor_digest

Tensor = tensor_file.Tensor
T = TypeVar("T")
Batches = Iterator[pa.RecordBatch]

_ARROW_FILE = b"ARROW1"
_INPUT, _TARGETS = "inputs", "targets"


@dataclass(frozen=True, eq=False)
class TabularDataset:
    """Columns by name.

    Attributes:
        table: columns of float64, bool, large_string or timestamp[us] (UTC), in chunks of any number, in
            memory or mapped from a file; null where a value is missing.
    """

    table: pa.Table

    @property
    def rows(self) -> int:
        """The number of samples."""
        return int(self.table.num_rows)

    @property
    def nbytes(self) -> int:
        """The size of the values."""
        return int(self.table.nbytes)

    def read(self, consume: Callable[[Batches], T]) -> T:
        """What `consume` makes of the rows: a dataset is a source of them, as a file is."""
        return consume(iter(self.table.to_batches()))

    def to_bytes(self) -> bytes:
        """The table as an Arrow IPC file."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return bytes(sink.getvalue())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, types and values, in hex; how the table was sent or chunked changes nothing."""
        digest = TableDigest(self.table.schema)
        for batch in self.table.to_batches():
            digest.add(batch)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TensorDataset:
    """Named tensors; the first dimension of each is the samples.

    Attributes:
        inputs: bool, uint8, signed integers or floats [B, …] by name, in memory or mapped from a file
            (then read-only); a single input is called `input`.
        targets: likewise; None where only predictions are asked for.
    """

    inputs: dict[str, Tensor]
    targets: Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def nbytes(self) -> int:
        """The size of the values."""
        return sum(tensor.nbytes for _, tensor in self.named())

    def named(self) -> list[tuple[str, Tensor]]:
        """All tensors with their names, `targets` last."""
        targets = [] if self.targets is None else [(_TARGETS, self.targets)]
        return [*self.inputs.items(), *targets]

    def write(self, file: IO[bytes]) -> None:
        """Write a safetensors file; inputs are numbered because the format keeps no order."""
        numbered = {
            f"{_INPUT}.{number}.{name}": tensor for number, (name, tensor) in enumerate(self.inputs.items())
        }
        tensor_file.write_tensors(
            file, numbered if self.targets is None else {**numbered, _TARGETS: self.targets}
        )

    def to_bytes(self) -> bytes:
        """The tensors as a safetensors file."""
        sink = io.BytesIO()
        self.write(sink)
        return sink.getvalue()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, dtypes, shapes and values, in hex."""
        return tensor_digest(len(self.inputs), self.named())


Dataset = TabularDataset | TensorDataset


def load_dataset(path: Path) -> Dataset:
    """The dataset in a file that the service has written. The file is mapped: nothing is copied."""
    with path.open("rb") as file:
        is_table = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    if is_table:
        return TabularDataset(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
    tensors = tensor_file.map_tensors(path)
    targets = tensors.pop(_TARGETS, None)
    keys = sorted((key.split(".", 2) for key in tensors), key=lambda parts: int(parts[1]))
    return TensorDataset({parts[2]: tensors[".".join(parts)] for parts in keys}, targets)
