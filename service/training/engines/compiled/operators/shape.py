"""Operators that rearrange elements: views, permutations, slices and concatenations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


def _replicate(x: Array, padding: Sequence[int]) -> Array:
    """Pad with the nearest element: pairs of widths from the last dimension on; negative widths crop."""
    for pair, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
        dim = x.ndim - 1 - pair
        x = jnp.take(x, np.clip(np.arange(-before, x.shape[dim] + after), 0, x.shape[dim] - 1), axis=dim)
    return x


def _replicate_backward(gradient: Array, x: Array, padding: Sequence[int]) -> Array:
    (of_x,) = jax.vjp(lambda x: _replicate(x, padding), x)[1](gradient)
    return jnp.asarray(of_x)


def _windows(x: Array, dim: int, size: int, step: int) -> Array:
    """Return the windows along one dimension; their elements are the last dimension."""
    starts = np.arange(0, x.shape[dim] - size + 1, step)
    windows = jnp.take(x, starts[:, None] + np.arange(size), axis=dim)  # […, windows, size, …]
    return jnp.moveaxis(windows, dim % x.ndim + 1, -1)


def _diagonal_scatter(x: Array, source: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    moved = jnp.moveaxis(x, (dim1, dim2), (-2, -1))
    rows = np.arange(source.shape[-1])
    at = ..., rows + max(-offset, 0), rows + max(offset, 0)
    return jnp.moveaxis(moved.at[at].set(source), (-2, -1), (dim1, dim2))


def _storage_index(sizes: Sequence[int], strides: Sequence[int], offset: int | None) -> Any:
    """Return the position in the storage of each element, int64 [*sizes]."""
    index: Any = np.full((1,) * len(sizes), offset or 0)
    for dim, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        index = index + np.expand_dims(np.arange(size) * stride, [*range(1, len(sizes) - dim)])
    return np.broadcast_to(index, tuple(sizes))


def _as_strided(x: Array, sizes: Sequence[int], strides: Sequence[int], offset: int | None = None) -> Array:
    """View the storage of a contiguous tensor; `untranslatable` names other tensors."""
    return x.ravel()[_storage_index(sizes, strides, offset)]


def _as_strided_scatter(
    x: Array, source: Array, sizes: Sequence[int], strides: Sequence[int], offset: int | None = None
) -> Array:
    index = _storage_index(sizes, strides, offset)
    return x.ravel().at[index].set(source).reshape(x.shape)


def _repeat(x: Array, times: Sequence[int]) -> Array:
    return jnp.tile(x, times)


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    return jnp.asarray(jnp.diagonal(x, offset, dim1, dim2))


SHAPE: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), jnp.reshape),
    **dict.fromkeys(("squeeze", "squeeze.dim", "squeeze.dims"), _squeeze),
    "as_strided": _as_strided,
    "as_strided_scatter": _as_strided_scatter,
    "cat": lambda tensors, dim=0: jnp.concatenate(tensors, axis=dim),
    "constant_pad_nd": _pad,
    "copy": lambda x, source: jnp.broadcast_to(source, x.shape),
    "diagonal": _diagonal,
    "diagonal_scatter": _diagonal_scatter,
    "expand": _expand,
    "flip": jnp.flip,
    "permute": jnp.transpose,
    "repeat": _repeat,
    **{f"replication_pad{dims}d": _replicate for dims in (1, 2, 3)},
    **{f"replication_pad{dims}d_backward": _replicate_backward for dims in (1, 2, 3)},
    "select.int": _select,
    "select_scatter": _select_scatter,
    "slice.Tensor": _slice,
    "slice_scatter": _slice_scatter,
    "split.Tensor": _split_evenly,
    "split_with_sizes": _split,
    "t": jnp.transpose,
    "transpose.int": jnp.swapaxes,
    "unbind.int": _unbind,
    "unfold": _windows,
    "unsqueeze": jnp.expand_dims,
}
