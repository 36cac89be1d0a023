"""Elementwise operators."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Operand = Any  # an array, or a Python number


def _scaled(function: Callable[[Operand, Operand], Array]) -> Callable[..., Array]:
    """Add the parameter `alpha`, a factor of the second operand, to `add` and `sub`."""

    def apply(x: Operand, y: Operand, alpha: float = 1) -> Array:
        return function(x, y if alpha == 1 else alpha * y)

    return apply


def _divide(x: Operand, y: Operand, rounding_mode: str | None = None) -> Array:
    quotient = jnp.true_divide(x, y)
    if rounding_mode is None:
        return quotient
    return jnp.floor(quotient) if rounding_mode == "floor" else jnp.trunc(quotient)


def _clamp(x: Array, low: Operand = None, high: Operand = None) -> Array:
    if low is not None:
        x = jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


def _power(x: Operand, exponent: Operand) -> Array:
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)  # for an int, JAX multiplies, as PyTorch does for 2.0 too
    return jnp.power(x, exponent)


def _gelu(x: Array, approximate: str = "none") -> Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    return jnp.where(x > 0, scale * x, alpha * scale * jnp.expm1(jnp.minimum(x, 0) * input_scale))


def _softshrink_backward(gradient: Array, x: Array, threshold: float = 0.5) -> Array:
    return jnp.where(jnp.abs(x) <= threshold, jnp.zeros_like(gradient), gradient)


def _round(x: Array, decimals: int = 0) -> Array:
    return jnp.round(x, decimals)


def _scaled_erfc(x: Array) -> Array:
    """Compute exp(x²) · erfc(x), from its asymptotic series where erfc(x) is too small."""
    largest = 8.0 if x.dtype == jnp.float32 else 25.0
    near = jnp.minimum(x, largest)
    square = 1 / (2 * jnp.maximum(x, largest) ** 2)
    series = (1 - square * (1 - 3 * square * (1 - 5 * square))) / (x * math.sqrt(math.pi))
    return jnp.where(x > largest, series, jnp.exp(near * near) * lax.erfc(near))


def _same(x: Array, **_: Any) -> Array:
    return x


_UNARY: Mapping[str, Callable[[Array], Array]] = {
    **{
        name: getattr(jnp, name)
        for name in (
            *("abs", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "floor", "isinf", "isnan", "log"),
            *("log10", "log1p", "log2", "logical_not", "reciprocal", "sign", "sin", "sinh", "sqrt", "square"),
            *("tan", "tanh", "trunc"),
        )
    },
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "bitwise_not": jnp.invert,
    "digamma": lax.digamma,
    "erf": lax.erf,
    "erfc": lax.erfc,
    "erfinv": lax.erf_inv,
    "i0": jax.scipy.special.i0,
    "lgamma": lax.lgamma,
    "neg": jnp.negative,
    "relu": lambda x: jnp.maximum(x, 0),
    "rsqrt": lax.rsqrt,
    "sigmoid": lax.logistic,
    "signbit": jnp.signbit,
    **{f"special_{name}": getattr(jax.scipy.special, name) for name in ("i0e", "i1", "i1e", "ndtri")},
    "special_erfcx": _scaled_erfc,
}
# Each has an overload for a second tensor and one for a scalar.
_BINARY: Mapping[str, Callable[..., Array]] = {
    "add": _scaled(jnp.add),
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_xor": jnp.bitwise_xor,
    "copysign": jnp.copysign,
    "div": jnp.true_divide,
    "eq": jnp.equal,
    "fmod": jnp.fmod,
    "ge": jnp.greater_equal,
    "gt": jnp.greater,
    "le": jnp.less_equal,
    "lt": jnp.less,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "remainder": jnp.remainder,
    "sub": _scaled(jnp.subtract),
}

ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    **_UNARY,
    **{f"{name}.{overload}": each for name, each in _BINARY.items() for overload in ("Tensor", "Scalar")},
    **dict.fromkeys(("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar"), _power),
    **dict.fromkeys(("clamp", "clamp.Tensor", "hardtanh"), _clamp),
    **dict.fromkeys(("div.Tensor_mode", "div.Scalar_mode"), _divide),
    **dict.fromkeys(("_to_copy", "alias", "clone", "detach", "lift_fresh_copy"), _same),
    "atan2": jnp.arctan2,
    **{
        f"bitwise_{name}_shift.{overload}": getattr(jnp, f"{name}_shift")
        for name in ("left", "right")
        for overload in ("Tensor", "Tensor_Scalar")
    },
    "clamp_max": jnp.minimum,
    "clamp_min": jnp.maximum,
    "elu": _elu,
    "floor_divide": lambda x, y: jnp.floor(jnp.true_divide(x, y)),
    "fmax": jnp.fmax,
    "fmin": jnp.fmin,
    "gcd": jnp.gcd,
    "gelu": _gelu,
    "hardshrink_backward": _softshrink_backward,
    "hypot": jnp.hypot,
    "lcm": jnp.lcm,
    "ldexp.Tensor": lambda x, y: x * jnp.power(2.0, y),
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, x * slope),
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "nextafter": jnp.nextafter,
    "polygamma": jax.scipy.special.polygamma,
    "round": _round,
    "round.decimals": _round,
    "rsub.Scalar": lambda x, y, alpha=1: y - alpha * x,
    "softshrink_backward": _softshrink_backward,
    "where.self": jnp.where,
}
