"""Convolutions, plain and transposed, in any number of dimensions."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Sizes = Sequence[int]

# Of a small kernel, XLA computes the matrix product with the shifted inputs faster than its convolution on a
# CPU, above all with few channels per group. The shifted inputs are copies.
MAX_SHIFTS = 25
MAX_SHIFTED_ELEMENTS = 2**24


def _convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Array:
    """Convolve x [B, C, …] with weight [out, C / groups, …], or [C, out / groups, …] if transposed."""
    if transposed:
        result = _transposed(x, weight, stride, padding, dilation, output_padding, groups)
    elif jax.default_backend() == "cpu" and is_shifted(x.shape, weight.shape):
        result = _shifted(x, weight, stride, padding, dilation, groups)
    else:
        widths = [(width, width) for width in padding]
        result = lax.conv_general_dilated(
            x, weight, stride, widths, rhs_dilation=dilation, feature_group_count=groups
        )
    return result if bias is None else result + jnp.reshape(bias, (1, -1) + (1,) * len(stride))


def is_shifted(x: Sizes, weight: Sizes) -> bool:
    """Return whether a CPU computes a plain convolution with shifted inputs, by its operands' shapes."""
    shifts = math.prod(weight[2:])
    return shifts <= MAX_SHIFTS and shifts * math.prod(x) <= MAX_SHIFTED_ELEMENTS


def _shifted(x: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    """Compute a convolution as the product of its kernel with the input shifted to each kernel element."""
    batch, channels = x.shape[:2]
    kernel = weight.shape[2:]
    padded = jnp.pad(x, [(0, 0), (0, 0), *((width, width) for width in padding)])
    sizes = [
        (size - step * (reach - 1) - 1) // jump + 1
        for size, reach, jump, step in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    shifts = []
    for element in itertools.product(*map(range, kernel)):
        first = [index * step for index, step in zip(element, dilation, strict=True)]
        end = [at + (size - 1) * jump + 1 for at, size, jump in zip(first, sizes, stride, strict=True)]
        shifts.append(lax.slice(padded, (0, 0, *first), (batch, channels, *end), (1, 1, *stride)))
    # [B, groups, C / groups · kernel elements, positions]
    columns = jnp.reshape(jnp.stack(shifts, 2), (batch, groups, -1, math.prod(sizes)))
    rows = jnp.reshape(weight, (groups, weight.shape[0] // groups, -1))
    return jnp.reshape(jnp.einsum("gok,bgkp->bgop", rows, columns), (batch, -1, *sizes))


def _transposed(
    x: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, extra: Sizes, groups: int
) -> Array:
    """Compute a transposed convolution as a convolution.

    The input is dilated by the stride; the kernel is flipped, and its channels are swapped within each group.
    """
    spatial = weight.shape[2:]  # of the kernel
    grouped = jnp.reshape(weight, (groups, -1, *weight.shape[1:]))  # [groups, C / groups, out / groups, …]
    swapped = jnp.reshape(  # [out, C / groups, …]
        jnp.swapaxes(grouped, 1, 2), (-1, weight.shape[0] // groups, *spatial)
    )
    # Distance of the first and last kernel element: a full convolution pads by it, `padding` crops it.
    reach = [step * (size - 1) for step, size in zip(dilation, spatial, strict=True)]
    return lax.conv_general_dilated(
        x,
        jnp.flip(swapped, range(2, weight.ndim)),
        (1,) * len(spatial),
        [(far - pad, far - pad + more) for far, pad, more in zip(reach, padding, extra, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        feature_group_count=groups,
    )


def _convolution_backward(
    gradient: Array,
    x: Array,
    weight: Array,
    bias_sizes: Sizes | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of input, weight and bias; None for those that `wanted` excludes."""

    def forward(x: Array, weight: Array) -> Array:
        return _convolution(x, weight, None, stride, padding, dilation, transposed, output_padding, groups)

    _, pull_back = jax.vjp(forward, x, weight)
    of_x, of_weight = pull_back(gradient)
    of_bias = jnp.sum(gradient, axis=(0, *range(2, gradient.ndim)))
    gradients = (of_x, of_weight, of_bias)
    return tuple(each if want else None for each, want in zip(gradients, wanted, strict=True))  # type: ignore[return-value]


CONVOLUTION: Mapping[str, Callable[..., Any]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
}
