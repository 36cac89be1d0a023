"""Operators that read or write at indices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array


def _full_index(dim: int, index: Array) -> tuple[Array, ...]:
    """Return the index of `gather` and `scatter` for all dimensions.

    Along `dim` it is `index`; along each other dimension, it is the element's own position in `index`.
    """
    full = list(jnp.indices(index.shape, sparse=True))  # each broadcasts to index.shape
    full[dim] = index
    return tuple(full)


def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    return x[_full_index(dim, index)]


def _scatter(x: Array, dim: int, index: Array, source: Any) -> Array:
    if isinstance(source, Array):
        # The source may be larger than the index; the rest of it is ignored.
        source = source[tuple(slice(size) for size in index.shape)]
    return x.at[_full_index(dim, index)].set(source)


def _scatter_add(x: Array, dim: int, index: Array, source: Array) -> Array:
    return x.at[_full_index(dim, index)].add(source[tuple(slice(size) for size in index.shape)])


def _scatter_reduce(
    x: Array, dim: int, index: Array, source: Array, reduce: str, include_self: bool = True
) -> Array:
    at = _full_index(dim, index)
    source = source[tuple(slice(size) for size in index.shape)]
    if not include_self:
        neutral = {"amax": -jnp.inf, "amin": jnp.inf, "prod": 1}.get(reduce, 0)
        x = x.at[at].set(neutral)
    if reduce == "mean":
        counts = jnp.full(x.shape, 1 if include_self else 0).at[at].add(1)
        counts = jnp.maximum(counts, 1).astype(x.dtype)
        return x.at[at].add(source) / counts
    update = {"amax": "max", "amin": "min", "prod": "multiply", "sum": "add"}[reduce]
    return jnp.asarray(getattr(x.at[at], update)(source))


def _put(x: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    at = x.ravel().at[index.ravel()]
    source = source.ravel()
    return (at.add(source) if accumulate else at.set(source)).reshape(x.shape)


def _index(x: Array, indices: Sequence[Array | None]) -> Array:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    at = x.at[tuple(slice(None) if index is None else index for index in indices)]
    return at.add(values) if accumulate else at.set(values)


def _embedding(
    weight: Array, indices: Array, padding_idx: int = -1, by_frequency: bool = False, sparse: bool = False
) -> Array:
    return jnp.take(weight, indices, axis=0)


INDEXING: Mapping[str, Callable[..., Any]] = {
    "embedding": _embedding,
    "gather": _gather,
    "index.Tensor": _index,
    "index_put": _index_put,
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "put": _put,
    "scatter.src": _scatter,
    "scatter.value": _scatter,
    "scatter_add": _scatter_add,
    "scatter_reduce.two": _scatter_reduce,
}
