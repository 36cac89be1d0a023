"""Reading and writing of safetensors files in which each tensor is aligned, so that it can be mapped.

The format is the header's length (8 bytes), a JSON header (dtype, shape and offsets of each tensor), and the
values. The safetensors library reads and writes whole tensors; here they are written in slices and mapped.
"""

import json
import mmap
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]

DTYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
_CODES = {name: code for code, name in DTYPES.items()}
_METADATA, _PADDING = "__metadata__", "__padding__."
_ALIGNMENT_BYTES = 64
_SLICE_BYTES = 16 * 2**20


def slices(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor [B, …] in contiguous pieces of whole samples, about 16 MiB each."""
    samples = max(1, _SLICE_BYTES // max(1, tensor[:1].nbytes))
    for start in range(0, len(tensor), samples):
        yield np.ascontiguousarray(tensor[start : start + samples])


def write_tensors(file: IO[bytes], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file slice by slice; each tensor starts at a multiple of 64 bytes."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        start = _aligned(end)
        if start > end:  # the format allows no unused bytes, so the padding is declared as a tensor
            header[f"{_PADDING}{len(header)}"] = _entry("U8", (start - end,), end)
        end = start + tensor.nbytes
        header[name] = _entry(_CODES[tensor.dtype.name], tensor.shape, start)
    text = json.dumps(header).encode()
    # Spaces after the JSON align the first tensor; the format allows them.
    text += b" " * (_aligned(len(text) + 8) - len(text) - 8)
    file.write(len(text).to_bytes(8, "little") + text)
    written = 0
    for tensor in tensors.values():
        file.write(bytes(_aligned(written) - written))
        for piece in slices(tensor):
            file.write(piece.data.cast("B"))
        written = _aligned(written) + tensor.nbytes


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _entry(code: str, shape: tuple[int, ...], start: int) -> dict[str, Any]:
    dtype = np.dtype(DTYPES[code])
    return {"dtype": code, "shape": shape, "data_offsets": [start, start + prod(shape) * dtype.itemsize]}


def map_tensors(path: Path, dtypes: Mapping[str, str] = DTYPES) -> dict[str, Tensor]:
    """Map the tensors of a well-formed file, without the padding; see `map_values`."""
    tensors = map_values(path, dtypes)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_PADDING)}


def map_values(path: Path, dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    """Map all tensors of a well-formed file.

    Args:
        path: The file.
        dtypes: Numpy's type by the file's code of a type; tensors of other types are left out.

    Returns:
        Read-only tensors by name.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    values_start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:values_start])
    return {
        name: _tensor(
            content, values_start + entry["data_offsets"][0], entry["shape"], dtypes[entry["dtype"]]
        )
        for name, entry in header.items()
        if name != _METADATA and entry["dtype"] in dtypes
    }


def _tensor(content: mmap.mmap, start: int, shape: list[int], dtype: str) -> Tensor:
    return np.frombuffer(content, dtype, prod(shape), start).reshape(shape)
