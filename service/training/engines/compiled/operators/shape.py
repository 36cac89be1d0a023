"""Operators that rearrange elements: views, permutations, slices and concatenations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

END = 2**63 - 1  # the end of a slice without an end in ATen


def _expand(x: Array, sizes: Sequence[int], implicit: bool = False) -> Array:
    own = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [old if new == -1 else new for new, old in zip(sizes, own, strict=True)])


def _slice_index(x: Array, dim: int, start: int | None, end: int | None, step: int = 1) -> tuple[slice, ...]:
    """Return the index of a slice along one dimension."""
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None if end is None or end >= END else end, step)
    return tuple(index)


def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return x[_slice_index(x, dim, start, end, step)]


def _slice_scatter(
    x: Array,
    source: Array,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Array:
    return x.at[_slice_index(x, dim, start, end, step)].set(source)


def _select(x: Array, dim: int, index: int) -> Array:
    return jnp.take(x, index, axis=dim)


def _select_scatter(x: Array, source: Array, dim: int, index: int) -> Array:
    moved: Array = jnp.moveaxis(x, dim, 0).at[index].set(source)
    return jnp.moveaxis(moved, 0, dim)


def _split(x: Array, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return jnp.split(x, ends[:-1], axis=dim)


def _split_evenly(x: Array, size: int, dim: int = 0) -> list[Array]:
    return jnp.split(x, list(range(size, x.shape[dim], size)), axis=dim)


def _squeeze(x: Array, dims: int | Sequence[int] | None = None) -> Array:
    wanted = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    return jnp.squeeze(x, [dim for dim in wanted if x.shape[dim] == 1])


def _unbind(x: Array, dim: int = 0) -> list[Array]:
    return [jnp.take(x, index, axis=dim) for index in range(x.shape[dim])]


def _pad(x: Array, padding: Sequence[int], value: float = 0) -> Array:
    """Pad as `constant_pad_nd`: pairs of widths from the last dimension on; negative widths crop."""
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    grown = jnp.pad(x, [(max(a, 0), max(b, 0)) for a, b in widths], constant_values=value)
    crops = zip(widths, grown.shape, strict=True)
    return jnp.asarray(grown[tuple(slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in crops)])


def _repeat(x: Array, times: Sequence[int]) -> Array:
    return jnp.tile(x, times)


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    return jnp.asarray(jnp.diagonal(x, offset, dim1, dim2))


SHAPE: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), jnp.reshape),
    **dict.fromkeys(("squeeze", "squeeze.dim", "squeeze.dims"), _squeeze),
    "cat": lambda tensors, dim=0: jnp.concatenate(tensors, axis=dim),
    "constant_pad_nd": _pad,
    "copy": lambda x, source: jnp.broadcast_to(source, x.shape),
    "diagonal": _diagonal,
    "expand": _expand,
    "flip": jnp.flip,
    "permute": jnp.transpose,
    "repeat": _repeat,
    "select.int": _select,
    "select_scatter": _select_scatter,
    "slice.Tensor": _slice,
    "slice_scatter": _slice_scatter,
    "split.Tensor": _split_evenly,
    "split_with_sizes": _split,
    "t": jnp.transpose,
    "transpose.int": jnp.swapaxes,
    "unbind.int": _unbind,
    "unsqueeze": jnp.expand_dims,
}
