"""Operators that create tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import torch
from jax import Array


def _arange(start: float, end: float, step: float = 1, dtype: Any = None) -> Array:
    return jnp.arange(start, end, step, dtype=dtype)


def _full(size: Sequence[int], value: Any, dtype: Any = None) -> Array:
    return jnp.full(tuple(size), value, dtype)


def _full_like(x: Array, value: Any, dtype: Any = None) -> Array:
    return jnp.full_like(x, value, dtype)


def _zeros(size: Sequence[int], *_: Any, dtype: Any = None) -> Array:
    return jnp.zeros(tuple(size), dtype)


def _zeros_like(x: Array, dtype: Any = None) -> Array:
    return jnp.zeros_like(x, dtype)


def _constant(function: Callable[..., torch.Tensor]) -> Callable[..., Array]:
    """Make a function of numbers that PyTorch computes when the program is compiled."""

    def compute(*arguments: Any, dtype: Any = None) -> Array:
        return jnp.asarray(function(*arguments, device="cpu").numpy(), dtype)

    return compute


# `empty` tensors are overwritten before they are read; zeros are as good as any values.
CREATION: Mapping[str, Callable[..., Any]] = {
    "arange.start_step": _arange,
    **{
        f"{name}_window{overload}": _constant(getattr(torch, f"{name}_window"))
        for name in ("blackman", "hamming", "hann")
        for overload in ("", ".periodic")
    },
    "fft_fftfreq": _constant(torch.fft.fftfreq),
    "fft_rfftfreq": _constant(torch.fft.rfftfreq),
    "full": _full,
    "full_like": _full_like,
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, dtype),
    **dict.fromkeys(("empty.memory_format", "empty_permuted", "empty_strided", "zeros"), _zeros),
    **dict.fromkeys(("empty_like", "zeros_like"), _zeros_like),
    "new_empty_strided": lambda x, size, strides, dtype=None: jnp.zeros(tuple(size), dtype or x.dtype),
    "ones": lambda size, dtype=None: jnp.ones(tuple(size), dtype),
    "ones_like": lambda x, dtype=None: jnp.ones_like(x, dtype),
    "tril_indices": _constant(torch.tril_indices),
    "triu_indices": _constant(torch.triu_indices),
}
