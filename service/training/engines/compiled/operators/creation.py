"""Operators that create tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
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


# `empty` tensors are overwritten before they are read; zeros are as good as any values.
CREATION: Mapping[str, Callable[..., Any]] = {
    "arange.start_step": _arange,
    "full": _full,
    "full_like": _full_like,
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, dtype),
    **dict.fromkeys(("empty.memory_format", "empty_permuted", "zeros"), _zeros),
    **dict.fromkeys(("empty_like", "zeros_like"), _zeros_like),
    "ones": lambda size, dtype=None: jnp.ones(tuple(size), dtype),
    "ones_like": lambda x, dtype=None: jnp.ones_like(x, dtype),
}
