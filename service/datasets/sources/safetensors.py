"""`.safetensors` files as mapped tensors."""

from math import prod
from pathlib import Path

import numpy as np
from safetensors import safe_open

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.sources.tensors import as_dataset, check_array_count
from service.datasets.tensor_file import DTYPES, Tensor, map_tensors
from service.datasets.validation import ErrorCollector, quote_name
from service.errors import ContentTooLarge, pointer_to

_PIECE_VALUES = 2**22
_BFLOAT16 = "BF16"  # numpy has no such type


def read_safetensors(path: Path, max_bytes: int) -> TensorDataset:
    """Read the tensors of a file; bfloat16 becomes float32.

    Args:
        path: The file, in a folder of its own, where converted tensors are written.
        max_bytes: Maximum total size of the converted tensors.

    Raises:
        ContentTooLarge: The converted tensors are larger than `max_bytes`.
        InvalidRequest: The file can't be read, or its tensors are not a dataset.
    """
    errors = ErrorCollector()
    with refuse_unreadable(".safetensors"):
        # The library checks the header against the size of the file, which `map_tensors` relies on.
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            check_array_count(len(names), errors)
            entries = {name: file.get_slice(name) for name in names}
            codes = {name: each.get_dtype() for name, each in entries.items()}
            shapes = {name: tuple(each.get_shape()) for name, each in entries.items()}
        arrays = {name: np.require(array, requirements="A") for name, array in map_tensors(path).items()}
        halves = {name for name, code in codes.items() if code == _BFLOAT16}
        if (converted_bytes := sum(4 * prod(shapes[name]) for name in halves)) > max_bytes:
            detail = (
                f"As float32, the bfloat16 tensors have {converted_bytes} bytes; the limit is {max_bytes}."
            )
            raise ContentTooLarge(detail)
        for number, (name, bits) in enumerate(map_tensors(path, {_BFLOAT16: "uint16"}).items()):
            arrays[name] = _as_float32(bits, path.with_name(f"bfloat16-{number}.npy"))
    for name, code in codes.items():
        if code not in DTYPES and code != _BFLOAT16:
            supported = ", ".join([*DTYPES, _BFLOAT16])
            errors.add(
                pointer_to("#", name), f"{quote_name(name)} is of type {code}; supported are {supported}."
            )
    arrays = {name: arrays[name] for name in codes if name in arrays}
    return as_dataset(arrays, errors, unread=codes.keys() - arrays.keys())


def _as_float32(bits: Tensor, path: Path) -> Tensor:
    """Convert the bits of bfloat16, uint16 [B, …], to float32 in a mapped file: they are its upper half."""
    if not bits.size:
        return bits.astype(np.float32)
    converted = np.lib.format.open_memmap(path, "w+", np.float32, bits.shape)
    flat_bits, flat = bits.reshape(-1), converted.reshape(-1)
    for start in range(0, len(flat), _PIECE_VALUES):
        piece = slice(start, start + _PIECE_VALUES)
        flat[piece] = (flat_bits[piece].astype(np.uint32) << 16).view(np.float32)
    return converted
