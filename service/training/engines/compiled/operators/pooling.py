"""Pooling: the maximum or the mean of each window, in two or three dimensions.

PyTorch traces pooling in one dimension as pooling in two.
"""

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
    """The windows over the last (spatial) dimensions of an input.

    Attributes:
        size: Size of a window along each spatial dimension.
        stride: Distance of two windows.
        padding: Padding on either end of a dimension.
        dilation: Distance of two elements of a window.
        sizes: Sizes of the input.
        counts: Number of windows along each dimension.
        leading: Number of dimensions before the spatial ones: batch and channels.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    leading: int

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Iterate over the offsets of a window's elements, in PyTorch's order of equal maxima."""
        return product(*map(range, self.size))

    def widths(self) -> list[tuple[int, int]]:
        """Return each dimension's padding (before, after) that makes the last window of `ceil_mode` whole."""
        # Extent from the first element of the first window to the last element of the last one.
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
        """Return the slices of the padded input that hold the element at one offset of all windows."""
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
        arguments = (values,) if isinstance(values, int) else tuple(values)
        return arguments if len(arguments) == dims else arguments * dims

    size, padding, dilation = each(size), each(padding), each(dilation)
    stride = each(stride) if stride else size
    sizes = x.shape[-dims:]
    counts = []
    for n, k, s, p, d in zip(sizes, size, stride, padding, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        count = (math.ceil(span / s) if ceil_mode else span // s) + 1
        # The last window must start inside the input or its left padding.
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= n + p else count)
    return Windows(size, stride, padding, dilation, sizes, tuple(counts), x.ndim - dims)


def _patches(x: Array, windows: Windows, fill: float) -> Array:
    """Return the elements of each window, [offsets, B, C, windows …]."""
    padded = jnp.pad(x, windows.widths(), constant_values=fill)
    return jnp.stack([padded[windows.at(offset)] for offset in windows.offsets()])


def _max_pool(
    x: Array, size: Sizes, stride: Sizes = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Array]:
    """Return the maximum of each window and its index into the input's flattened spatial dimensions.

    Both are [B, C, windows …].
    """
    windows = _windows(x, size, stride, padding, dilation, ceil_mode)
    patches = _patches(x, windows, -math.inf)  # [offsets, B, C, windows …]
    positions = jnp.arange(math.prod(windows.sizes)).reshape(windows.sizes)  # [spatial …]
    chosen = jnp.argmax(patches, axis=0)  # [B, C, windows …], offsets; the first of equal maxima
    # The same windows over the positions hold the index of each element.
    all_indices = _patches(jnp.broadcast_to(positions, x.shape), windows, -1)  # as `patches`
    indices = jnp.take_along_axis(all_indices, chosen[None], axis=0)[0]
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
    """Add each window's gradient to its first maximum.

    The maximum is searched again rather than read from `indices`; XLA runs the search of both passes once.
    """
    windows = _windows(x, size, stride, padding, dilation, ceil_mode)
    chosen = jnp.argmax(_patches(x, windows, -math.inf), axis=0)
    widths = windows.widths()
    padded = jnp.zeros([n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)], x.dtype)
    # Windows may overlap, but the elements at one offset of all windows are distinct: one update per offset.
    for index, offset in enumerate(windows.offsets()):
        padded = padded.at[windows.at(offset)].add(jnp.where(chosen == index, gradient, 0))
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
    total = _window_sums(jnp.pad(x, windows.widths()), windows)  # [B, C, windows …]
    return total / (divisor_override or _window_sums(_counted(windows, count_include_pad), windows))


def _counted(windows: Windows, count_include_pad: bool) -> Array:
    """Return the weight of each padded element in a window's mean, float32 [1, …, spatial].

    Padding counts if `count_include_pad` is set; what `ceil_mode` adds at the end never does.
    """
    counted = np.ones((1,) * windows.leading + windows.sizes, np.float32)
    widths = windows.widths()
    own = [(0, 0)] * windows.leading + [(pad, pad) for pad in windows.padding]
    inside = [tuple(map(min, *pair)) for pair in zip(widths, own, strict=True)]
    beyond = [(0, after - kept) for (_, after), (_, kept) in zip(widths, inside, strict=True)]
    counted = np.pad(counted, inside, constant_values=float(count_include_pad))
    return jnp.asarray(np.pad(counted, beyond))


def _window_sums(padded: Array, windows: Windows) -> Array:
    one = (1,) * windows.leading
    zero = np.zeros((), padded.dtype)
    sums: Array = lax.reduce_window(padded, zero, lax.add, one + windows.size, one + windows.stride, "VALID")
    return sums


def _mean_matrix(inputs: int, outputs: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the matrix [outputs, inputs] by which adaptive pooling averages along one dimension."""
    matrix = np.zeros((outputs, inputs), np.float32)
    for row in range(outputs):
        start, end = row * inputs // outputs, -(-(row + 1) * inputs // outputs)  # floor, ceil
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def _adaptive_avg_pool(x: Array, sizes: Sizes) -> Array:
    for dim, size in enumerate(sizes, start=x.ndim - len(sizes)):
        pooled = jnp.tensordot(x, _mean_matrix(x.shape[dim], size), axes=(dim, 1))
        x = jnp.moveaxis(pooled, -1, dim)
    return x


def _adaptive_windows(sizes: Sizes, outputs: Sizes) -> tuple[Any, Any]:
    """Return the windows of adaptive pooling: positions in the flattened input, and which of them count.

    Both are [*outputs, elements of the largest window].
    """
    index, counted = np.zeros((1,) * (2 * len(sizes)), np.int64), np.ones((1,) * (2 * len(sizes)), np.bool_)
    for dim, (inputs, count) in enumerate(zip(sizes, outputs, strict=True)):
        starts = np.arange(count) * inputs // count
        ends = -(-(np.arange(count) + 1) * inputs // count)  # rounded up
        positions = starts[:, None] + np.arange(max(ends - starts))  # [outputs, width]
        others = [axis for axis in range(2 * len(sizes)) if axis not in (dim, dim + len(sizes))]
        index = index * inputs + np.expand_dims(np.minimum(positions, inputs - 1), others)
        counted = counted & np.expand_dims(positions < ends[:, None], others)
    return index.reshape(*outputs, -1), np.broadcast_to(counted, index.shape).reshape(*outputs, -1)


def _adaptive_max_pool(x: Array, outputs: Sizes) -> tuple[Array, Array]:
    """Return the maximum of each window and its index into the flattened spatial dimensions."""
    spatial = x.shape[-len(outputs) :]
    flat = x.reshape(*x.shape[: -len(outputs)], -1)  # [B, C, positions]
    index, counted = _adaptive_windows(spatial, outputs)
    patches = jnp.where(counted, flat[..., index], -math.inf)  # [B, C, *outputs, elements]
    chosen = jnp.argmax(patches, axis=-1)
    indices = jnp.take_along_axis(jnp.broadcast_to(index, patches.shape), chosen[..., None], axis=-1)
    return jnp.max(patches, axis=-1), indices[..., 0]


def _adaptive_max_pool_backward(dims: int) -> Callable[[Array, Array, Array], Array]:
    def backward(gradient: Array, x: Array, indices: Array) -> Array:
        rows = math.prod(x.shape[:-dims])
        at = np.arange(rows)[:, None], indices.reshape(rows, -1)
        added = jnp.zeros((rows, math.prod(x.shape[-dims:])), x.dtype).at[at].add(gradient.reshape(rows, -1))
        return added.reshape(x.shape)

    return backward


def _backward(forward: Callable[[Array], Array], gradient: Array, x: Array) -> Array:
    """Return the gradient of the input of `forward`."""
    (input_gradient,) = jax.vjp(forward, x)[1](gradient)
    return jnp.asarray(input_gradient)


def _adaptive_avg_pool_backward(dims: int) -> Callable[[Array, Array], Array]:
    def backward(gradient: Array, x: Array) -> Array:
        return _backward(lambda x: _adaptive_avg_pool(x, gradient.shape[-dims:]), gradient, x)

    return backward


def _avg_pool_backward(gradient: Array, x: Array, *arguments: Any) -> Array:
    return _backward(lambda x: _avg_pool(x, *arguments), gradient, x)


POOLING: Mapping[str, Callable[..., Any]] = {
    **{f"max_pool{dims}d_with_indices": _max_pool for dims in (2, 3)},
    **{f"max_pool{dims}d_with_indices_backward": _max_pool_backward for dims in (2, 3)},
    **{f"avg_pool{dims}d": _avg_pool for dims in (2, 3)},
    **{f"avg_pool{dims}d_backward": _avg_pool_backward for dims in (2, 3)},
    **{f"_adaptive_avg_pool{dims}d": _adaptive_avg_pool for dims in (2, 3)},
    **{f"_adaptive_avg_pool{dims}d_backward": _adaptive_avg_pool_backward(dims) for dims in (2, 3)},
    **{f"adaptive_max_pool{dims}d": _adaptive_max_pool for dims in (2, 3)},
    **{f"adaptive_max_pool{dims}d_backward": _adaptive_max_pool_backward(dims) for dims in (2, 3)},
}
