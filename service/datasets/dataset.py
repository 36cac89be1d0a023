"""A dataset: a table of columns, or named tensors. Stored without pickle, known by its content."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from service.datasets.columns import NUMBER, TEXT

Tensor = NDArray[Any]

_ARROW_FILE = b"ARROW1"
_INPUT, _TARGETS = "inputs", "targets"


@dataclass(frozen=True, eq=False)
class TabularDataset:
    """Columns by name.

    Attributes:
        table: columns of float64, bool or large_string; null where a value is missing.
    """

    table: pa.Table

    @property
    def rows(self) -> int:
        """The number of samples."""
        return int(self.table.num_rows)

    def to_bytes(self) -> bytes:
        """The table as an Arrow IPC file."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """The inverse of `to_bytes`; the values are read in place."""
        return cls(pa.ipc.open_file(pa.py_buffer(payload)).read_all())

    def digest(self) -> str:
        """SHA-256 of names, types and values, in hex; how the table was sent or chunked changes nothing."""
        header = [[field.name, str(field.type)] for field in self.table.schema]
        return _sha256(header, (part for column in self.table.columns for part in _column_content(column)))


@dataclass(frozen=True, eq=False)
class TensorDataset:
    """Named tensors; the first dimension of each is the samples.

    Attributes:
        inputs: float64, int64 or bool [B, …] by name; a single input is called `input`.
        targets: float64, int64 or bool [B, …]; None where only predictions are asked for.
    """

    inputs: dict[str, Tensor]
    targets: Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))

    def to_bytes(self) -> bytes:
        """The tensors as a safetensors file, numbered because the format keeps no order."""
        tensors = {
            f"{_INPUT}.{number}.{name}": tensor for number, (name, tensor) in enumerate(self.inputs.items())
        }
        if self.targets is not None:
            tensors[_TARGETS] = self.targets
        return safetensors.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """The inverse of `to_bytes`."""
        tensors = safetensors.load(payload)
        targets = tensors.pop(_TARGETS, None)
        keys = sorted((key.split(".", 2) for key in tensors), key=lambda parts: int(parts[1]))
        return cls({parts[2]: tensors[".".join(parts)] for parts in keys}, targets)

    def digest(self) -> str:
        """SHA-256 of names, dtypes, shapes and values, in hex."""
        named = [*self.inputs.items()]
        if self.targets is not None:
            named.append((_TARGETS, self.targets))
        header = [len(self.inputs), *([name, tensor.dtype.str, tensor.shape] for name, tensor in named)]
        return _sha256(header, (np.ascontiguousarray(tensor).tobytes() for _, tensor in named))


Dataset = TabularDataset | TensorDataset


def load_dataset(payload: bytes) -> Dataset:
    """What `to_bytes` of either kind wrote."""
    kind = TabularDataset if payload.startswith(_ARROW_FILE) else TensorDataset
    return kind.from_bytes(payload)


def _sha256(header: object, content: Iterator[bytes]) -> str:
    sha = hashlib.sha256(json.dumps(header).encode() + b"\n")
    for part in content:
        sha.update(part)
    return sha.hexdigest()


def _column_content(column: pa.ChunkedArray) -> Iterator[bytes]:
    """Which values are there, then the values: equal columns give equal bytes, whatever lies under a null."""
    yield column.is_valid().to_numpy().tobytes()
    if column.type == TEXT:
        filled = column.fill_null("")
        yield pc.binary_length(filled).to_numpy().astype("<i8").tobytes()
        yield "".join(filled.to_pylist()).encode()
    else:
        filled = column.fill_null(0.0 if column.type == NUMBER else False)
        yield filled.to_numpy().tobytes()
