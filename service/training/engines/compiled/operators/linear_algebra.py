"""Matrix products."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array


def _addmm(x: Array, a: Array, b: Array, beta: float = 1, alpha: float = 1) -> Array:
    """Compute beta · x + alpha · a @ b; factors of 1 are left out."""
    product = jnp.matmul(a, b)
    product = product if alpha == 1 else alpha * product
    return product + (x if beta == 1 else beta * x)


def _trilinear(
    a: Array,
    b: Array,
    c: Array,
    expand_a: list[int],
    expand_b: list[int],
    expand_c: list[int],
    sumdim: list[int],
    unroll_dim: int = 1,
) -> Array:
    a, b, c = (jnp.expand_dims(x, dims) for x, dims in ((a, expand_a), (b, expand_b), (c, expand_c)))
    return jnp.sum(a * b * c, axis=tuple(sumdim))


LINEAR_ALGEBRA: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("bmm", "dot", "mm", "mv"), jnp.matmul),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), _addmm),
    "_trilinear": _trilinear,
}
