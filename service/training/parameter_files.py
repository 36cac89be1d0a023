"""Files with the parameters and buffers of a model: its `state_dict()`, as safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open

from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.tensor_file import DTYPES, Tensor, map_values
from service.datasets.validation import ErrorCollector, count_of, quote_name
from service.errors import pointer_to

MAX_HEADER_BYTES: Final = 10 * 2**20
"""Maximum size of the list of tensors, about 100,000 of them."""
MAX_NAME_CHARACTERS: Final = 1000
_LENGTH_BYTES = 8  # of the number before the header
_PIECE_VALUES = 2**22
_FORMAT = "a .safetensors file"
_REMEDY = "write one with `safetensors.torch.save_file(model.state_dict(), path)`"
# PyTorch's name of a type, and the type of numpy by which values are read, by the name of the format.
_TYPES: Mapping[str, tuple[str, str]] = {
    **{code: (name, name) for code, name in DTYPES.items()},
    "BF16": ("bfloat16", "uint16"),  # numpy has no such type
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        name: Its name in the `state_dict()`.
        shape: Its shape.
        dtype: Its type, as PyTorch names it, e.g. `float32`.
        finite: Whether no value is infinite.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    finite: bool


def check_file(path: Path) -> list[StoredTensor]:
    """Check a file that a client has sent, and list its tensors.

    Args:
        path: The file.

    Raises:
        InvalidRequest: The file can't be read, or holds a tensor that no model can have; lists all of these.
    """
    errors = ErrorCollector()
    _check_header(path, errors)
    with refuse_unreadable(_FORMAT):
        # The library checks the header against the size of the file, which `map_values` relies on.
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            codes = {name: each.get_dtype() for name, each in slices.items()}
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
        values = map_values(path, {code: numpy_name for code, (_, numpy_name) in _TYPES.items()})
    if not codes:
        errors.add("#", f"The file has no tensors; {_REMEDY}.")
    tensors = []
    for name, code in codes.items():
        pointer = pointer_to("#", name)
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
            limit = f"names have 1 to {MAX_NAME_CHARACTERS} printable characters"
            errors.add(pointer, f"{quote_name(name)} is not the name of a parameter; {limit}.")
        if code not in _TYPES:
            supported = ", ".join(name for name, _ in _TYPES.values())
            errors.add(pointer, f"{quote_name(name)} is of type {code}; supported are {supported}.")
            continue
        nan, infinite = _count_not_finite(values[name], code)
        if nan:
            errors.add(pointer, f"{quote_name(name)} has NaN ({count_of(nan, 'value')}).")
        tensors.append(StoredTensor(name, shapes[name], _TYPES[code][0], infinite == 0))
    errors.raise_if_any()
    return tensors


def _check_header(path: Path, errors: ErrorCollector) -> None:
    """Refuse a file with a long header, or none, before the library reads it."""
    with path.open("rb") as file:
        head = file.read(_LENGTH_BYTES + 1)
    if not head:
        errors.fail("#", f"The body is empty; send {_FORMAT}.")
    if head[_LENGTH_BYTES:] != b"{":
        errors.fail("#", f"The body is not {_FORMAT}; {_REMEDY}. Pickles (`torch.save`) are never read.")
    header_bytes = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if header_bytes > path.stat().st_size:
        errors.fail("#", f"The file is cut short: its header has {header_bytes:,} bytes.")
    if header_bytes > MAX_HEADER_BYTES:
        errors.fail("#", f"The header has {header_bytes:,} bytes; the limit is {MAX_HEADER_BYTES:,}.")


def _count_not_finite(values: Tensor, code: str) -> tuple[int, int]:
    """Count the values that are NaN, and those that are infinite."""
    if values.dtype.kind != "f" and code != "BF16":
        return 0, 0
    nan = infinite = 0
    flat = values.reshape(-1)
    for start in range(0, len(flat), _PIECE_VALUES):
        bits = flat[start : start + _PIECE_VALUES]
        # bfloat16 is the upper half of a float32.
        piece = (bits.astype(np.uint32) << 16).view(np.float32) if code == "BF16" else bits
        nan += int(np.isnan(piece).sum())
        infinite += int(np.isinf(piece).sum())
    return nan, infinite


def read_file(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checked file by name."""
    return safetensors.torch.load_file(path)
