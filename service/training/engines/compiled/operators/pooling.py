"""Pooling: the largest or the mean value of each window, in two or three dimensions (one comes as two)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Sizes = Sequence[int]


class Windows(NamedTuple):
    """Where windows lie over the last dimensions of an input.

    Attributes:
        size, stride, padding, dilation: one number for each spatial dimension.
        sizes: of the input.
        counts: windows along each dimension.
        leading: dimensions before the spatial ones: batch and channels.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    leading: int

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """The places in a window, in the order PyTorch looks at them."""
        return product(*map(range, self.size))

    def widths(self) -> list[tuple[int, int]]:
        """The padding of each dimension, such that the last window (`ceil_mode`) is whole."""
        spans = [
            (count - 1) * stride + dilation * (size - 1) + 1
            for count, stride, dilation, size in zip(
                self.counts, self.stride, self.dilation, self.size, strict=True
            )
        ]
        return [(0, 0)] * self.leading + [
            (pad, max(span - size - pad, 0))
            for span, size, pad in zip(spans, self.sizes, self.padding, strict=True)
        ]

    def at(self, offset: tuple[int, ...]) -> tuple[slice, ...]:
        """The values at one place of all windows, in the padded input."""
        spatial = [
            slice(d * o, d * o + (count - 1) * s + 1, s)
            for d, o, count, s in zip(self.dilation, offset, self.counts, self.stride, strict=True)
        ]
        return (*[slice(None)] * self.leading, *spatial)


def _windows(
    x: Array, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> Windows:
    dims = len(size)

    def each(values: int | Sizes) -> tuple[int, ...]:
        given = (values,) if isinstance(values, int) else tuple(values)
        return given if len(given) == dims else given * dims

    size, padding, dilation = each(size), each(padding), each(dilation)
    stride = each(stride) if stride else size
    sizes = x.shape[-dims:]
    counts = []
    for n, k, s, p, d in zip(sizes, size, stride, padding, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        count = (math.ceil(span / s) if ceil_mode else span // s) + 1
        # The last window must begin inside the input or its left padding.
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= n + p else count)
    return Windows(size, stride, padding, dilation, sizes, tuple(counts), x.ndim - dims)


def _patches(x: Array, windows: Windows, fill: float) -> Array:
    """[places, B, C, windows …]: of each window, the value at each place."""
    padded = jnp.pad(x, windows.widths(), constant_values=fill)
    return jnp.stack([padded[windows.at(offset)] for offset in windows.offsets()])


def _max_pool(
    x: Array, size: Sizes, stride: Sizes = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Array]:
    """The largest of each window, and its place in the input's flattened spatial dimensions."""
    windows = _windows(x, size, stride, padding, dilation, ceil_mode)
    patches = _patches(x, windows, -math.inf)
    places = jnp.broadcast_to(jnp.arange(math.prod(windows.sizes)).reshape(windows.sizes), x.shape)
    chosen = jnp.argmax(patches, axis=0)
    indices = jnp.take_along_axis(_patches(places, windows, -1), chosen[None], axis=0)[0]
    return jnp.max(patches, axis=0), indices


def _max_pool_backward(
    gradient: Array,
    x: Array,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    indices: Array,
) -> Array:
    """Each window's gradient goes to its (first) largest value, found again: XLA finds it only once."""
    windows = _windows(x, size, stride, padding, dilation, ceil_mode)
    chosen = jnp.argmax(_patches(x, windows, -math.inf), axis=0)
    widths = windows.widths()
    padded = jnp.zeros([n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)], x.dtype)
    for place, offset in enumerate(windows.offsets()):
        padded = padded.at[windows.at(offset)].add(jnp.where(chosen == place, gradient, 0))
    return padded[tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))]


def _avg_pool(
    x: Array,
    size: Sizes,
    stride: Sizes = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    windows = _windows(x, size, stride, padding, (1,) * len(size), ceil_mode)
    total = _window_sums(jnp.pad(x, windows.widths()), windows)
    return total / (divisor_override or _window_sums(_counted(windows, count_include_pad), windows))


def _counted(windows: Windows, count_include_pad: bool) -> Array:
    """[1, …, spatial]: what counts in a window's mean; what `ceil_mode` adds at the end never does."""
    counted = np.ones((1,) * windows.leading + windows.sizes, np.float32)
    widths = windows.widths()
    own = [(0, 0)] * windows.leading + [(pad, pad) for pad in windows.padding]
    inside = [tuple(map(min, pair)) for pair in zip(widths, own, strict=True)]
    beyond = [(0, after - kept) for (_, after), (_, kept) in zip(widths, inside, strict=True)]
    counted = np.pad(counted, inside, constant_values=float(count_include_pad))
    return jnp.asarray(np.pad(counted, beyond))


def _window_sums(padded: Array, windows: Windows) -> Array:
    one = (1,) * windows.leading
    zero = np.zeros((), padded.dtype)
    sums: Array = lax.reduce_window(padded, zero, lax.add, one + windows.size, one + windows.stride, "VALID")
    return sums


def _mean_matrix(inputs: int, outputs: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[outputs, inputs]: how adaptive pooling averages along one dimension."""
    matrix = np.zeros((outputs, inputs), np.float32)
    for row in range(outputs):
        start, end = row * inputs // outputs, -(-(row + 1) * inputs // outputs)
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def _adaptive_avg_pool(x: Array, sizes: Sizes) -> Array:
    for dim, size in enumerate(sizes, start=x.ndim - len(sizes)):
        pooled = jnp.tensordot(x, _mean_matrix(x.shape[dim], size), axes=(dim, 1))
        x = jnp.moveaxis(pooled, -1, dim)
    return x


def _pulled_back(forward: Callable[[Array], Array], gradient: Array, x: Array) -> Array:
    """The input's gradient of a linear function."""
    (pulled,) = jax.vjp(forward, x)[1](gradient)
    return jnp.asarray(pulled)


def _adaptive_avg_pool_backward(dims: int) -> Callable[[Array, Array], Array]:
    def backward(gradient: Array, x: Array) -> Array:
        return _pulled_back(lambda x: _adaptive_avg_pool(x, gradient.shape[-dims:]), gradient, x)

    return backward


def _avg_pool_backward(gradient: Array, x: Array, *how: Any) -> Array:
    return _pulled_back(lambda x: _avg_pool(x, *how), gradient, x)


POOLING: Mapping[str, Callable[..., Any]] = {
    **{f"max_pool{dims}d_with_indices": _max_pool for dims in (2, 3)},
    **{f"max_pool{dims}d_with_indices_backward": _max_pool_backward for dims in (2, 3)},
    **{f"avg_pool{dims}d": _avg_pool for dims in (2, 3)},
    **{f"avg_pool{dims}d_backward": _avg_pool_backward for dims in (2, 3)},
    **{f"_adaptive_avg_pool{dims}d": _adaptive_avg_pool for dims in (2, 3)},
    **{f"_adaptive_avg_pool{dims}d_backward": _adaptive_avg_pool_backward(dims) for dims in (2, 3)},
}
