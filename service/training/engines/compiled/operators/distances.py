"""Distances between rows: `torch.dist`, `torch.cdist` and `torch.pdist`."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array


def _norm(differences: Array, p: float) -> Array:
    """Return the p-norm along the last dimension."""
    sizes = jnp.abs(differences)
    if p == 0:
        return jnp.sum(differences != 0, axis=-1).astype(differences.dtype)
    if math.isinf(p):
        return jnp.max(sizes, axis=-1, initial=0)
    if p == 1:
        return jnp.sum(sizes, axis=-1)
    return jnp.sqrt(jnp.sum(sizes * sizes, axis=-1)) if p == 2 else jnp.sum(sizes**p, axis=-1) ** (1 / p)


def _norm_backward(gradient: Array, differences: Array, norms: Array, p: float) -> Array:
    """Return the gradient of the differences […, n]; it is 0 where the norm is 0, as PyTorch chooses.

    Args:
        gradient: Gradient of the norms […].
        differences: […, n].
        norms: […].
        p: The order of the norm.
    """
    signs, sizes = jnp.sign(differences), jnp.abs(differences)
    at, norm = gradient[..., None], norms[..., None]
    if p == 0:
        return jnp.zeros_like(differences)
    if p == 1:
        return at * signs
    if math.isinf(p):
        return at * signs * (sizes == norm)
    positive = jnp.where(norm > 0, norm, 1)
    powers = sizes if p == 2 else jnp.where(sizes > 0, sizes, 1) ** (p - 1) * (sizes > 0)
    return jnp.where(norm > 0, at * signs * powers / positive ** (p - 1), 0)


def _between(a: Array, b: Array) -> Array:
    """Return the differences [..., P, R, n] of rows [..., P, n] and [..., R, n]."""
    return a[..., :, None, :] - b[..., None, :, :]


def _cdist(a: Array, b: Array, p: float, compute_mode: int | None) -> Array:
    return _norm(_between(a, b), p)


def _cdist_backward(gradient: Array, a: Array, b: Array, p: float, norms: Array) -> Array:
    """Return the gradient of the first rows; PyTorch calls it with exchanged arguments for the second."""
    return jnp.sum(_norm_backward(gradient, _between(a, b), norms, p), axis=-2)


def _pairs(x: Array) -> tuple[Any, Any]:
    """Return the two indices of each pair of rows, in PyTorch's order."""
    return np.triu_indices(x.shape[0], 1)


def _pdist(x: Array, p: float = 2.0) -> Array:
    first, second = _pairs(x)
    return _norm(x[first] - x[second], p)


def _pdist_backward(gradient: Array, x: Array, p: float, norms: Array) -> Array:
    first, second = _pairs(x)
    of_differences = _norm_backward(gradient, x[first] - x[second], norms, p)
    return jnp.zeros_like(x).at[first].add(of_differences).at[second].add(-of_differences)


DISTANCES: Mapping[str, Callable[..., Any]] = {
    "_cdist_backward": _cdist_backward,
    "_cdist_forward": _cdist,
    "_pdist_backward": _pdist_backward,
    "_pdist_forward": _pdist,
    "dist": lambda x, y, p=2: _norm((x - y).ravel(), p),
}
