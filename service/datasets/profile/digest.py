"""Content digests of datasets: SHA-256 of names, types and values, independent of format and chunks.

Each column has a hash of its own, updated chunk by chunk, so that no chunk is kept.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import BOOLEAN, DATETIME, INTEGER, NUMBER, TEXT
from service.datasets.tensor_file import Tensor, slices

# Hashed in place of a missing value; no column has such a value or length.
_NO_NUMBER, _NO_BOOLEAN, _NO_TIME, _NO_LENGTH = float("nan"), 2, -(2**63), -1


READ_GAPS = b"gaps"
"""Entry of a schema about the form of the file, which does not count as content."""


class TableDigest:
    """Digest of a table, updated batch by batch.

    Args:
        schema: Columns of the column types.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._header = [[field.name, str(field.type)] for field in schema]
        if schema.metadata:  # equal values that were read by other options are another dataset
            kept = {key: value for key, value in schema.metadata.items() if key != READ_GAPS}
            self._header += [[key.decode(), value.decode()] for key, value in sorted(kept.items())]
        self._columns = [ColumnDigest(field.type) for field in schema]

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the next rows."""
        for column, digest in zip(batch.columns, self._columns, strict=True):
            digest.add(column)

    def hexdigest(self) -> str:
        """Return the digest of the rows added so far, in hexadecimal."""
        return _sha256(self._header, (column.digest() for column in self._columns))


class ColumnDigest:
    """Digest of one column, updated chunk by chunk.

    Args:
        arrow_type: One of the column types.
    """

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._values = hashlib.sha256()
        self._lengths = hashlib.sha256()  # of texts
        self._add = {
            NUMBER: self._add_numbers,
            INTEGER: self._add_integers,
            BOOLEAN: self._add_booleans,
            DATETIME: self._add_times,
            TEXT: self._add_texts,
        }[arrow_type]

    def add(self, chunk: pa.Array) -> None:
        """Add the next rows. The values that a buffer has below nulls don't count."""
        self._add(chunk)

    def digest(self) -> bytes:
        """Return the digest of the rows added so far."""
        return self._lengths.digest() + self._values.digest()

    def _add_numbers(self, chunk: pa.Array) -> None:
        self._values.update(_filled(chunk, _NO_NUMBER).to_numpy())

    def _add_integers(self, chunk: pa.Array) -> None:
        self._lengths.update(chunk.is_valid().cast(pa.uint8()).to_numpy())
        self._values.update(_filled(chunk, 0).to_numpy())

    def _add_booleans(self, chunk: pa.Array) -> None:
        self._values.update(_filled(chunk.cast(pa.uint8()), _NO_BOOLEAN).to_numpy())

    def _add_times(self, chunk: pa.Array) -> None:
        self._values.update(_filled(chunk.cast(pa.int64()), _NO_TIME).to_numpy())

    def _add_texts(self, chunk: pa.Array) -> None:
        lengths = _filled(pc.binary_length(chunk), _NO_LENGTH)
        self._lengths.update(lengths.to_numpy())
        texts = _filled(chunk, "")
        # Hash the bytes of all texts at once; the lengths above separate them.
        _, offsets_buffer, text_buffer = texts.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset :][: len(texts) + 1]
        if text_buffer is not None and len(offsets):
            self._values.update(memoryview(text_buffer)[int(offsets[0]) : int(offsets[-1])])


def _filled(chunk: pa.Array, value: object) -> pa.Array:
    return chunk.fill_null(value) if chunk.null_count else chunk


def tensor_digest(inputs: int, tensors: Sequence[tuple[str, Tensor]]) -> str:
    """Compute the digest of named tensors, in hexadecimal.

    Args:
        inputs: Number of inputs.
        tensors: The inputs, then the targets if there are any.
    """
    header = [inputs, *([name, tensor.dtype.str, tensor.shape] for name, tensor in tensors)]
    return _sha256(header, (piece for _, tensor in tensors for piece in slices(tensor)))


def _sha256(header: object, content: Iterator[Any]) -> str:
    sha = hashlib.sha256(json.dumps(header).encode() + b"\n")
    for part in content:
        sha.update(part)
    return sha.hexdigest()
