"""Interpolation: `upsample`, whose modes are linear maps along each dimension, and `grid_sample`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Matrix = np.ndarray[Any, np.dtype[np.float32]]
CUBIC = -0.75  # coefficient of PyTorch's cubic convolution
BILINEAR, NEAREST, BICUBIC = range(3)  # modes of `grid_sampler_2d`
ZEROS, BORDER, REFLECTION = range(3)  # its padding modes


def _positions(inputs: int, outputs: int, align_corners: bool, scale: float | None) -> Matrix:
    """Return the position of each output in units of the inputs, float32 [outputs]."""
    steps = np.arange(outputs, dtype=np.float32)
    if align_corners:
        return steps * np.float32((inputs - 1) / (outputs - 1) if outputs > 1 else 0)
    return (steps + np.float32(0.5)) * _ratio(inputs, outputs, scale) - np.float32(0.5)


def _ratio(inputs: int, outputs: int, scale: float | None) -> np.float32:
    return np.float32(1 / scale) if scale else np.float32(inputs) / np.float32(outputs)


def _matrix(rows: Matrix, inputs: int, taps: Sequence[tuple[Matrix, Matrix | float]]) -> Matrix:
    """Return the matrix [outputs, inputs] that adds up inputs, given as (index, weight) of each output."""
    matrix = np.zeros((len(rows), inputs), np.float32)
    for index, weight in taps:
        np.add.at(matrix, (np.arange(len(rows)), np.clip(index, 0, inputs - 1).astype(np.int64)), weight)
    return matrix


def _nearest(offset: float, inputs: int, outputs: int, align_corners: bool, scale: float | None) -> Matrix:
    steps = np.arange(outputs, dtype=np.float32) + np.float32(offset)
    return _matrix(steps, inputs, [(np.floor(steps * _ratio(inputs, outputs, scale)), 1.0)])


def _linear(inputs: int, outputs: int, align_corners: bool, scale: float | None) -> Matrix:
    at = np.maximum(_positions(inputs, outputs, align_corners, scale), 0)
    low = np.floor(at)
    return _matrix(at, inputs, [(low, 1 - (at - low)), (low + 1, at - low)])


def _cubic(inputs: int, outputs: int, align_corners: bool, scale: float | None) -> Matrix:
    at = _positions(inputs, outputs, align_corners, scale)
    low = np.floor(at)
    return _matrix(at, inputs, [(low + k, _cubic_weight(at - low - k)) for k in (-1, 0, 1, 2)])


def _cubic_weight(distance: Any) -> Any:
    """Return the weight of a sample at a distance up to 2 (Keys, 1981, with a = -0.75)."""
    x = abs(distance)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return (x <= 1) * near + (x > 1) * far


class _Upsampling(NamedTuple):
    """The operators of a mode.

    Attributes:
        matrix: Returns the map along a dimension, [outputs, inputs].
        aligns: Whether the operators have the argument `align_corners`.
    """

    matrix: Callable[[int, int, bool, float | None], Matrix]
    aligns: bool

    def forward(self, x: Array, output_size: Sequence[int], *more: Any) -> Array:
        """Resample x [B, C, …]."""
        return self._mapped(x, x.shape[2:], output_size, more, 1)

    def backward(
        self, gradient: Array, output_size: Sequence[int], input_size: Sequence[int], *more: Any
    ) -> Array:
        """Return the gradient of the input."""
        return self._mapped(gradient, input_size[2:], output_size, more, 0)

    def _mapped(
        self, x: Array, inputs: Sequence[int], outputs: Sequence[int], more: Sequence[Any], axis: int
    ) -> Array:
        """Multiply each spatial dimension by its map, whose dimension `axis` is summed."""
        align_corners, scales = (more[0], more[1:]) if self.aligns else (False, more)
        for dim, sizes in enumerate(zip(inputs, outputs, strict=True)):
            weights = self.matrix(*sizes, align_corners, scales[dim] if dim < len(scales) else None)
            x = jnp.moveaxis(jnp.tensordot(x, weights, axes=(dim + 2, axis)), -1, dim + 2)
        return x


def _reflected(at: Array, low: float, high: float) -> Array:
    """Reflect positions at two borders until they are between them."""
    if high == low:
        return jnp.zeros_like(at)
    span = high - low
    distance = jnp.abs(at - low)
    extra, flips = jnp.fmod(distance, span), jnp.floor(distance / span)
    return jnp.where(flips % 2 == 0, extra + low, span - extra + low)


def _padded(at: Array, size: int, padding: int, align_corners: bool) -> Array:
    if padding == REFLECTION:
        at = _reflected(at, 0.0, size - 1.0) if align_corners else _reflected(at, -0.5, size - 0.5)
    return at if padding == ZEROS else jnp.clip(at, 0, size - 1)


def _weight(distance: Array, offset: int, mode: int) -> Any:
    """Return the weight of the sample at `offset` from the last one before a position."""
    if mode == BICUBIC:
        return _cubic_weight(distance)
    linear = 1 + distance if offset else 1 - distance
    return 1.0 if mode == NEAREST else linear


def _grid_sample(x: Array, grid: Array, mode: int, padding: int, align_corners: bool) -> Array:
    """Sample x [B, C, …, H, W] at grid [B, …, 2 or 3], whose last dimension is (x, y, z) from -1 to 1."""
    sizes = x.shape[2:]
    ats = []  # one for each spatial dimension, [B, …]
    for dim, size in enumerate(sizes):
        value = grid[..., len(sizes) - 1 - dim]
        at = (value + 1) / 2 * (size - 1) if align_corners else ((value + 1) * size - 1) / 2
        ats.append(at if mode == BICUBIC else _padded(at, size, padding, align_corners))
    lows = [jnp.round(at) if mode == NEAREST else jnp.floor(at) for at in ats]
    reach = {NEAREST: (0,), BILINEAR: (0, 1), BICUBIC: (-1, 0, 1, 2)}[mode]
    total: Any = 0
    for offsets in product(reach, repeat=len(sizes)):
        weight: Any = 1
        index = []
        for at, low, offset, size in zip(ats, lows, offsets, sizes, strict=True):
            position = low + offset
            weight = weight * _weight(at - position, offset, mode)
            if mode == BICUBIC:
                position = _padded(position, size, padding, align_corners)
            weight = weight * ((position >= 0) & (position <= size - 1))
            index.append(jnp.clip(position, 0, size - 1).astype(jnp.int32))
        values = jax.vmap(lambda image, *at: image[(slice(None), *at)])(x, *index)  # [B, C, …]
        total = total + values * weight[:, None]
    return jnp.asarray(total)


def _grid_sample_backward(
    gradient: Array,
    x: Array,
    grid: Array,
    mode: int,
    padding: int,
    align_corners: bool,
    wanted: Sequence[bool],
) -> tuple[Array | None, ...]:
    _, pull_back = jax.vjp(lambda x, grid: _grid_sample(x, grid, mode, padding, align_corners), x, grid)
    return tuple(each if want else None for each, want in zip(pull_back(gradient), wanted, strict=True))


_UPSAMPLINGS: Mapping[str, _Upsampling] = {
    **{f"upsample_nearest{dims}d": _Upsampling(partial(_nearest, 0.0), aligns=False) for dims in (1, 2, 3)},
    **{
        f"_upsample_nearest_exact{dims}d": _Upsampling(partial(_nearest, 0.5), aligns=False)
        for dims in (1, 2, 3)
    },
    **{
        f"upsample_{name}": _Upsampling(_linear, aligns=True)
        for name in ("linear1d", "bilinear2d", "trilinear3d")
    },
    "upsample_bicubic2d": _Upsampling(_cubic, aligns=True),
}

RESAMPLING: Mapping[str, Callable[..., Any]] = {
    **{name: upsampling.forward for name, upsampling in _UPSAMPLINGS.items()},
    **{f"{name}_backward": upsampling.backward for name, upsampling in _UPSAMPLINGS.items()},
    **{f"grid_sampler_{dims}d": _grid_sample for dims in (2, 3)},
    **{f"grid_sampler_{dims}d_backward": _grid_sample_backward for dims in (2, 3)},
}
