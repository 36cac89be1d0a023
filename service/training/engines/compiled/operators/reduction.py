"""Operators that reduce dimensions, and the norms and softmaxes that contain a reduction."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Axes = int | Sequence[int] | None


def _axes(dims: Axes) -> int | tuple[int, ...] | None:
    """Convert PyTorch's `dim`, where None and an empty list mean all dimensions."""
    if isinstance(dims, Sequence):
        return tuple(dims) or None
    return dims


def _reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(x: Array, dims: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
        return function(x if dtype is None else x.astype(dtype), axis=_axes(dims), keepdims=keepdim)

    return reduce


def _variance(x: Array, dims: Axes = None, correction: float | None = None, keepdim: bool = False) -> Array:
    return jnp.var(x, axis=_axes(dims), correction=1 if correction is None else correction, keepdims=keepdim)


def _variance_and_mean(x: Array, dims: Axes = None, **more: Any) -> tuple[Array, Array]:
    return _variance(x, dims, **more), jnp.mean(x, axis=_axes(dims), keepdims=more.get("keepdim", False))


def _vector_norm(
    x: Array, order: float = 2, dims: Axes = None, keepdim: bool = False, dtype: Any = None
) -> Array:
    axes = _axes(dims)
    if order == 2:
        return jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=keepdim))
    size = jnp.abs(x)
    if order == 0:
        return jnp.sum(x != 0, axis=axes, keepdims=keepdim)
    if math.isinf(order):
        return (jnp.max if order > 0 else jnp.min)(size, axis=axes, keepdims=keepdim)
    return jnp.power(jnp.sum(jnp.power(size, order), axis=axes, keepdims=keepdim), 1 / order)


def _extreme(
    value: Callable[..., Array], index: Callable[..., Array]
) -> Callable[[Array, int, bool], tuple[Array, Array]]:
    def reduce(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
        return value(x, axis=dim, keepdims=keepdim), index(x, axis=dim, keepdims=keepdim)

    return reduce


def _arg_extreme(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        return function(x, axis=dim, keepdims=keepdim)

    return reduce


def _layer_norm(
    x: Array, shape: Sequence[int], weight: Array | None, bias: Array | None, epsilon: float
) -> tuple[Array, Array, Array]:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    mean = jnp.mean(x, axis=axes, keepdims=True)
    rstd = jax.lax.rsqrt(jnp.var(x, axis=axes, keepdims=True) + epsilon)
    normed = (x - mean) * rstd
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias, mean, rstd


def _group_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    batch: int,
    channels: int,
    positions: int,
    groups: int,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    grouped, mean, rstd = _layer_norm(
        jnp.reshape(x, (batch, groups, -1)), (channels // groups * positions,), None, None, epsilon
    )
    normed = _per_channel(jnp.reshape(grouped, x.shape), weight, bias)
    return normed, mean[..., 0], rstd[..., 0]


def _batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Normalize by mean and 1 / standard deviation of a batch or by running ones, and return these."""
    if training:
        normed, mean, rstd, _ = _normalized_batch(x, epsilon)
        return _per_channel(normed, weight, bias), mean, rstd
    assert running_mean is not None and running_var is not None  # noqa: PT018 (no test)
    rstd = jax.lax.rsqrt(running_var + epsilon)
    normed = _per_channel(_per_channel(x, None, -running_mean), rstd, None)
    return _per_channel(normed, weight, bias), running_mean, rstd


def _updating_batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Array, Array, Array, Array, Array]:
    """Normalize by the statistics of a batch, and return these and the new running statistics."""
    normed, mean, rstd, variance = _normalized_batch(x, epsilon)
    count = x.size // mean.size
    unbiased = variance * (count / (count - 1)) if count > 1 else jnp.full_like(variance, jnp.nan)
    new_mean = momentum * mean + (1 - momentum) * running_mean
    new_var = momentum * unbiased + (1 - momentum) * running_var
    return _per_channel(normed, weight, bias), mean, rstd, new_mean, new_var


def _normalized_batch(x: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """Return x [B, C, …] normalized, and [C]: mean, 1 / standard deviation and biased variance of a batch."""
    axes = (0, *range(2, x.ndim))
    mean = jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.var(x, axis=axes, keepdims=True)
    rstd = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * rstd, mean.ravel(), rstd.ravel(), variance.ravel()


def _per_channel(x: Array, weight: Array | None, bias: Array | None) -> Array:
    """Compute x [B, C, …] · weight [C] + bias [C]; None leaves out a factor or summand."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    x = x if weight is None else x * jnp.reshape(weight, shape)
    return x if bias is None else x + jnp.reshape(bias, shape)


REDUCTION: Mapping[str, Callable[..., Any]] = {
    **{
        f"{name}{overload}": _reduction(getattr(jnp, name))
        for name, overloads in {
            "all": ("", ".dim", ".dims"),
            "any": ("", ".dim", ".dims"),
            "mean": ("", ".dim"),
            "prod": ("", ".dim_int"),
            "sum": ("", ".dim_IntList"),
        }.items()
        for overload in overloads
    },
    "_log_softmax": lambda x, dim, to_float: jax.nn.log_softmax(x, dim),
    "_softmax": lambda x, dim, to_float: jax.nn.softmax(x, dim),
    "amax": _reduction(jnp.max),
    "amin": _reduction(jnp.min),
    "argmax": _arg_extreme(jnp.argmax),
    "argmin": _arg_extreme(jnp.argmin),
    "cumprod": lambda x, dim, dtype=None: jnp.cumprod(x, dim, dtype),
    "cumsum": lambda x, dim, dtype=None: jnp.cumsum(x, dim, dtype),
    "linalg_vector_norm": _vector_norm,
    "logcumsumexp": lambda x, dim: jax.lax.cumlogsumexp(x, axis=dim % x.ndim),
    "max": jnp.max,
    "max.dim": _extreme(jnp.max, jnp.argmax),
    "min": jnp.min,
    "min.dim": _extreme(jnp.min, jnp.argmin),
    "_native_batch_norm_legit_functional": _updating_batch_norm,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "var.correction": _variance,
    "var_mean.correction": _variance_and_mean,
}
