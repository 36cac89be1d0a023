"""Fourier transforms and the parts of complex numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

# Functions from the number of elements to the factor of a transform, by PyTorch's `fft_norm_mode`.
_FACTORS: Sequence[Callable[[int], float]] = (lambda n: 1.0, lambda n: 1 / math.sqrt(n), lambda n: 1 / n)


def _factor(sizes: Sequence[int], normalization: int) -> float:
    return _FACTORS[normalization](math.prod(sizes))


def _sizes(x: Array, dims: Sequence[int]) -> list[int]:
    return [x.shape[dim] for dim in dims]


def _complex_transform(x: Array, dims: Sequence[int], normalization: int, forward: bool) -> Array:
    # Neither is scaled by itself.
    transformed = jnp.fft.fftn(x, axes=dims) if forward else jnp.fft.ifftn(x, axes=dims, norm="forward")
    return transformed * _factor(_sizes(x, dims), normalization)


def _transform_of_real(x: Array, dims: Sequence[int], normalization: int, onesided: bool) -> Array:
    transform = jnp.fft.rfftn if onesided else jnp.fft.fftn
    return transform(x, axes=dims) * _factor(_sizes(x, dims), normalization)


def _transform_to_real(x: Array, dims: Sequence[int], normalization: int, last_size: int) -> Array:
    sizes = [*_sizes(x, dims[:-1]), last_size]
    return jnp.fft.irfftn(x, s=sizes, axes=dims, norm="forward") * _factor(sizes, normalization)


FOURIER: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("_conj", "_conj_physical", "conj_physical"), jnp.conj),
    "_fft_c2c": _complex_transform,
    "_fft_c2r": _transform_to_real,
    "_fft_r2c": _transform_of_real,
    "angle": jnp.angle,
    "complex": lax.complex,
    "imag": jnp.imag,
    "polar": lambda size, angle: lax.complex(size * jnp.cos(angle), size * jnp.sin(angle)),
    "real": jnp.real,
    "view_as_complex": lambda x: lax.complex(x[..., 0], x[..., 1]),
    "view_as_real": lambda x: jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1),
}
