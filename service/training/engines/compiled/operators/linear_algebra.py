"""Matrix products."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def _addmm(x: Array, a: Array, b: Array, beta: float = 1, alpha: float = 1) -> Array:
    """Compute beta · x + alpha · a @ b; factors of 1 are left out."""
    product = jnp.matmul(a, b)
    product = product if alpha == 1 else alpha * product
    return product + (x if beta == 1 else beta * x)


def _addbmm(x: Array, a: Array, b: Array, beta: float = 1, alpha: float = 1) -> Array:
    return beta * x + alpha * jnp.einsum("bij,bjk->ik", a, b)


def _inverse(a: Array, check_errors: bool = False) -> tuple[Array, None]:
    return jnp.linalg.inv(a), None


def _determinant(a: Array) -> tuple[Array, Array, None]:
    """Return the determinant; the matrix takes the place of its LU factors, see `_solve_adjoint`."""
    return jnp.linalg.det(a), a, None


def _log_determinant(a: Array) -> tuple[Array, Array, Array, None]:
    sign, log = jnp.linalg.slogdet(a)
    return sign, log, a, None


def _solve(a: Array, b: Array, left: bool = True, check_errors: bool = False) -> tuple[Any, ...]:
    is_vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    right = b[..., None] if is_vector else b
    x = (
        jnp.linalg.solve(a, right)
        if left
        else _transposed(jnp.linalg.solve(_transposed(a), _transposed(right)))
    )
    return x[..., 0] if is_vector else x, a, None, None


def _solve_adjoint(a: Array, pivots: None, b: Array, left: bool = True, adjoint: bool = False) -> Array:
    """Solve aᴴ · x = b, or x · aᴴ = b if not `left`.

    Only the backward passes of `det`, `slogdet` and `solve` call it, with the LU factors of their forward
    pass. These are factors of the matrix or of its transpose, which `adjoint` says; both give this equation.
    """
    adjoint_a = jnp.conj(_transposed(a))
    if left:
        return jnp.asarray(jnp.linalg.solve(adjoint_a, b))
    return _transposed(jnp.linalg.solve(jnp.conj(a), _transposed(b)))


def _transposed(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _cholesky(a: Array, upper: bool = False, check_errors: bool = False) -> tuple[Array, None]:
    lower = lax.linalg.cholesky(_transposed(a) if upper else a, symmetrize_input=False)
    return _transposed(lower) if upper else lower, None


def _solve_triangular(
    a: Array, b: Array, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return lax.linalg.triangular_solve(
        *(jnp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b)),
        left_side=left,
        lower=not upper,
        unit_diagonal=unitriangular,
    )


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
    **dict.fromkeys(("_sparse_addmm", "addmm", "addmv", "baddbmm"), _addmm),
    "_linalg_check_errors": lambda *_, **__: None,  # the eager engine raises an error, this one computes NaN
    "_linalg_det": _determinant,
    "_linalg_slogdet": _log_determinant,
    "_linalg_solve_ex": _solve,
    "_trilinear": _trilinear,
    "addbmm": _addbmm,
    "linalg_cholesky_ex": _cholesky,
    "linalg_householder_product": lax.linalg.householder_product,
    "linalg_inv_ex": _inverse,
    "linalg_lu_solve": _solve_adjoint,
    "linalg_matrix_exp": jax.scipy.linalg.expm,
    "linalg_qr": lambda a, mode="reduced": tuple(jnp.linalg.qr(a, mode=mode)),
    "linalg_solve_triangular": _solve_triangular,
}
