"""The updates of the optimizers that treat a parameter as a matrix: Adafactor and Muon."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from service.training.engines.compiled.update_rule import (
    OptimizerState,
    Shape,
    StateTensor,
    Step,
    Structure,
    UpdateRule,
    cast,
)


def _adafactor(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adafactor`."""
    numbers = step.numbers
    epsilon = numbers.get("eps1", jnp.float64(np.finfo(parameter.dtype).eps))
    rest = cast(step.count ** numbers["beta2_decay"], parameter)  # 1 − β₂ of this step
    relative_rate = jnp.minimum(numbers["lr"], 1 / jnp.sqrt(step.count))
    rate = jnp.maximum(numbers["eps2"], _root_mean_square(parameter)) * relative_rate
    parameter = parameter * cast(1 - numbers["lr"] * numbers["weight_decay"], parameter)
    squares = gradient * gradient
    if gradient.ndim > 1:  # [.., r, c]: the matrix of averages is approximated by one row and one column
        rows, columns = state["row_var"], state["col_var"]  # [.., r, 1], [.., 1, c]
        rows = rows + rest * (jnp.mean(squares, axis=-1, keepdims=True) - rows)
        columns = columns + rest * (jnp.mean(squares, axis=-2, keepdims=True) - columns)
        total = jnp.maximum(jnp.mean(rows, axis=-2, keepdims=True), cast(epsilon, parameter))
        average, state = rows * columns / total, {"row_var": rows, "col_var": columns}
    else:
        average = state["variance"] + rest * (squares - state["variance"])
        state = {"variance": average}
    update = gradient * lax.rsqrt(jnp.maximum(average, cast(epsilon**2, parameter)))
    divisor = jnp.maximum(1.0, _root_mean_square(update) / numbers["d"])
    return parameter - cast(rate / divisor, parameter) * update, state


def _root_mean_square(values: Array) -> Array:
    """Return the root of the mean square of a tensor, float64 []."""
    return jnp.sqrt(jnp.sum(values * values)).astype(jnp.float64) / math.sqrt(values.size)


def _muon(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Muon`."""
    numbers, momentum = step.numbers, cast(step.numbers["momentum"], parameter)
    buffer = state["momentum_buffer"]
    buffer = buffer + cast(1 - numbers["momentum"], parameter) * (gradient - buffer)
    update = gradient + momentum * (buffer - gradient) if step.structure["nesterov"] else buffer
    update = _orthogonalized(update, step).astype(parameter.dtype)
    rate = numbers["lr"] * _rate_factor(parameter.shape, step.structure.get("adjust_lr_fn"))
    parameter = parameter * cast(1 - numbers["lr"] * numbers["weight_decay"], parameter)
    return parameter - cast(rate, parameter) * update, {"momentum_buffer": buffer}


def _orthogonalized(matrix: Array, step: Step) -> Array:
    """Bring the singular values of a matrix [r, c] near 1 by Newton-Schulz iterations, in bfloat16.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Like PyTorch, it adds
    up products in single precision and rounds each result.
    """
    a, b, c = (step.numbers[name].astype(jnp.float32) for name in ("ns_a", "ns_b", "ns_c"))
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if is_tall else matrix).astype(jnp.bfloat16)
    norm = jnp.sqrt(jnp.sum(jnp.square(wide.astype(jnp.float32)))).astype(jnp.bfloat16)
    wide = wide / jnp.maximum(norm, step.numbers["eps"].astype(jnp.bfloat16))

    def scaled(factor: Array, added: Array, scale: Array, left: Array, right: Array) -> Array:
        product = jnp.matmul(left, right, preferred_element_type=jnp.float32)
        return (factor * added.astype(jnp.float32) + scale * product).astype(jnp.bfloat16)

    def iterate(_: Array, x: Array) -> Array:
        gram = jnp.matmul(x, x.T, preferred_element_type=jnp.float32).astype(jnp.bfloat16)
        return scaled(a, x, jnp.float32(1), scaled(b, gram, c, gram, gram), x)

    found: Array = lax.fori_loop(0, step.numbers["ns_steps"].astype(jnp.int32), iterate, wide)
    return found.T if is_tall else found


def _rate_factor(shape: Shape, adjustment: str | None) -> float:
    """Return the factor of the learning rate for a matrix, as `adjust_lr_fn` says."""
    rows, columns = shape
    if adjustment == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


def _adafactor_state(structure: Structure) -> dict[str, StateTensor]:
    return {
        "row_var": StateTensor(shape=lambda shape: (*shape[:-1], 1) if len(shape) > 1 else None),
        "col_var": StateTensor(shape=lambda shape: (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else None),
        "variance": StateTensor(shape=lambda shape: None if len(shape) > 1 else shape),
    }


ADAFACTOR = UpdateRule(_adafactor, _adafactor_state, is_elementwise=False)
MUON = UpdateRule(
    _muon, lambda structure: {"momentum_buffer": StateTensor()}, counts_steps=False, is_elementwise=False
)
