"""`nn.EmbeddingBag`: sums, means or maxima of the rows of an embedding, by bag."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

SUM, MEAN, MAXIMUM = range(3)


def _bags(indices: Array, offsets: Array) -> Array:
    """Return the bag of each index; bags start at their offsets."""
    return jnp.searchsorted(offsets, jnp.arange(len(indices)), side="right") - 1


def _embedding_bag(
    weight: Array,
    indices: Array,
    offsets: Array,
    by_frequency: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Array, None, None, Array | None]:
    """Return the bags [bags, n] and, of maxima, the rows of the embedding that they are from."""
    bags, count = _bags(indices, offsets), len(offsets) - include_last_offset
    counts = indices != padding_idx  # [indices]
    if mode == MAXIMUM:
        rows = jnp.where(counts[:, None], weight[indices], -jnp.inf)
        maxima = jax.ops.segment_max(rows, bags, count)  # [bags, n]
        positions = jnp.where(rows == maxima[bags], jnp.arange(len(indices))[:, None], len(indices))
        first = jax.ops.segment_min(positions, bags, count)
        is_empty = jnp.isneginf(maxima)
        chosen = jnp.where(is_empty, -1, indices[jnp.minimum(first, len(indices) - 1)])
        return jnp.where(is_empty, 0, maxima), None, None, chosen
    shares = _shares(indices, bags, count, mode, sample_weights, padding_idx)
    return jax.ops.segment_sum(weight[indices] * shares[:, None], bags, count), None, None, None


def _shares(
    indices: Array, bags: Array, count: int, mode: int, sample_weights: Array | None, padding_idx: int
) -> Array:
    """Return the factor of each row in its bag, [indices]."""
    counts = indices != padding_idx
    if mode == MEAN:
        sizes = jax.ops.segment_sum(counts.astype(jnp.float32), bags, count)
        return counts / jnp.maximum(sizes, 1)[bags]
    return counts * (jnp.ones(len(indices), jnp.float32) if sample_weights is None else sample_weights)


def _backward(
    gradient: Array,
    indices: Array,
    offsets: Array,
    offset2bag: Any,
    bag_size: Any,
    maximum_indices: Array | None,
    num_weights: int,
    by_frequency: bool,
    mode: int,
    sparse: bool,
    sample_weights: Array | None,
    padding_idx: int = -1,
) -> Array:
    zeros = jnp.zeros((num_weights, gradient.shape[1]), gradient.dtype)
    if maximum_indices is not None:
        at = jnp.where(maximum_indices < 0, num_weights, maximum_indices)  # outside: dropped
        return zeros.at[at, jnp.arange(gradient.shape[1])].add(gradient, mode="drop")
    bags = _bags(indices, offsets)
    shares = _shares(indices, bags, len(gradient), mode, sample_weights, padding_idx)
    if by_frequency:
        shares = shares / jnp.zeros(num_weights).at[indices].add(1)[indices]
    return zeros.at[indices].add(gradient[bags] * shares[:, None])


def _sample_weights_backward(
    gradient: Array,
    weight: Array,
    indices: Array,
    offsets: Array,
    offset2bag: Any,
    mode: int,
    padding_idx: int = -1,
) -> Array:
    products = jnp.sum(gradient[_bags(indices, offsets)] * weight[indices], axis=1)
    return jnp.where(indices == padding_idx, 0, products)


EMBEDDING_BAG: Mapping[str, Callable[..., Any]] = {
    "_embedding_bag": _embedding_bag,
    "_embedding_bag_backward": _backward,
    "_embedding_bag_per_sample_weights_backward": _sample_weights_backward,
}
