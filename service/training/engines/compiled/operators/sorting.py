"""Operators that sort, or search in sorted values."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def _sort(x: Array, dim: int = -1, descending: bool = False, stable: bool | None = None) -> list[Array]:
    if x.ndim == 0:
        return [x, jnp.zeros((), jnp.int64)]
    order = jnp.argsort(x, axis=dim, descending=descending)
    return [jnp.take_along_axis(x, order, axis=dim), order]


def _top(x: Array, k: int, dim: int = -1, largest: bool = True, is_sorted: bool = True) -> list[Array]:
    ordered = _sort(x, dim, descending=largest)
    return ordered if x.ndim == 0 else [lax.slice_in_dim(each, 0, k, axis=dim % x.ndim) for each in ordered]


def _taken(x: Array, index: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """Return the values at an index […, 1, …] along one dimension, and the index."""
    values = jnp.take_along_axis(x, index, axis=dim)
    return (values, index) if keepdim else (jnp.squeeze(values, dim), jnp.squeeze(index, dim))


def _of_rank(x: Array, rank: Any, dim: int) -> Array:
    """Return the index […, 1, …] of the value of a rank, 0 for the smallest; NaN are the largest."""
    order = jnp.argsort(x, axis=dim)
    return jnp.take_along_axis(order, jnp.broadcast_to(rank, _kept(x, dim)), axis=dim)


def _kept(x: Array, dim: int) -> tuple[int, ...]:
    shape = list(x.shape)
    shape[dim] = 1
    return tuple(shape)


def _kth(x: Array, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    return _taken(x, _of_rank(x, k - 1, dim), dim, keepdim)


def _median(x: Array, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """Return the lower of two medians; the first NaN if there is one."""
    is_nan = jnp.isnan(x)
    first = jnp.argmax(is_nan, axis=dim, keepdims=True)
    middle = _of_rank(x, (x.shape[dim] - 1) // 2, dim)
    return _taken(x, jnp.where(jnp.any(is_nan, axis=dim, keepdims=True), first, middle), dim, keepdim)


def _nan_median(x: Array, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """Return the lower of two medians of the values that are not NaN."""
    counts = jnp.sum(~jnp.isnan(x), axis=dim, keepdims=True)
    return _taken(x, _of_rank(x, jnp.maximum(counts - 1, 0) // 2, dim), dim, keepdim)


def _of_all(function: Callable[..., tuple[Array, Array]]) -> Callable[[Array], Array]:
    return lambda x: function(x.ravel(), 0)[0]


def _mode(x: Array, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """Return the most frequent value, the smallest of several, and its last index."""
    moved = jnp.moveaxis(x, dim, -1)  # […, n]
    counts = jnp.sum(moved[..., :, None] == moved[..., None, :], axis=-1)
    is_most = counts == jnp.max(counts, axis=-1, keepdims=True)
    value = jnp.min(jnp.where(is_most, moved, jnp.inf), axis=-1, keepdims=True)
    last = jnp.max(jnp.where(moved == value, jnp.arange(moved.shape[-1]), 0), axis=-1, keepdims=True)
    return _taken(x, jnp.moveaxis(last, -1, dim), dim, keepdim)


def _running(extreme: Callable[..., Array]) -> Callable[[Array, int], tuple[Array, Array]]:
    def run(x: Array, dim: int) -> tuple[Array, Array]:
        axis = dim % x.ndim
        values = extreme(x, axis=axis)
        positions = lax.broadcasted_iota(jnp.int64, x.shape, axis)
        reached = jnp.where((x == values) | jnp.isnan(x), positions, 0)  # the last of equal ones
        return values, lax.cummax(reached, axis=axis)

    return run


def _search(
    boundaries: Array,
    values: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Array | None = None,
) -> Array:
    """Return the index of each value in boundaries [n], or in those of its row, [..., n]."""
    if sorter is not None:
        boundaries = jnp.take_along_axis(boundaries, sorter, axis=-1)
    wanted = jnp.asarray(values)

    def search(boundaries: Array, values: Array) -> Array:
        return jnp.searchsorted(boundaries, values, side="right" if right or side == "right" else "left")

    for _ in range(boundaries.ndim - 1):
        search = jax.vmap(search)
    return search(boundaries, wanted)


def _bucket(values: Any, boundaries: Array, **flags: Any) -> Array:
    return _search(boundaries, values, **flags)


SORTING: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("bucketize.Tensor", "bucketize.Scalar"), _bucket),
    **dict.fromkeys(("searchsorted.Tensor", "searchsorted.Scalar"), _search),
    **dict.fromkeys(("sort", "sort.stable"), _sort),
    "cummax": _running(lax.cummax),
    "cummin": _running(lax.cummin),
    "kthvalue": _kth,
    "median": _of_all(_median),
    "median.dim": _median,
    "mode": _mode,
    "nanmedian": _of_all(_nan_median),
    "nanmedian.dim": _nan_median,
    "topk": _top,
}
