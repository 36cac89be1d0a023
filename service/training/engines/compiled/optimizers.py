"""The optimizers' updates as arithmetic on arrays: PyTorch's formulas, in its order of operations.

The numeric hyperparameters of a parameter group (`service.training.optimizers.numbers_of`) are inputs of a
program; its flags (`structure_of`) are fixed when the program is compiled, so that Python's `if` on them
costs nothing at run time.

PyTorch computes scalar factors such as `1 - beta1` or `lr / (1 - beta1**step)` in double precision and rounds
once, when a float32 kernel takes them. Each factor is therefore computed here from float64 numbers and cast
as a whole (`_cast`); casting its parts first would round differently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

Numbers = Mapping[str, Array]  # numeric hyperparameters by name, float64 []
OptimizerState = dict[str, Array]  # the tensors of one parameter by name, each of its shape
Structure = Mapping[str, Any]  # the flags of a parameter group, see `structure_of`

STEP = "step"  # PyTorch's name of the step count in an optimizer's state


@dataclass(frozen=True)
class UpdateRule:
    """The update of one parameter by an optimizer.

    Attributes:
        update: (parameter, gradient, state, numbers, structure, number of this step from 1) -> (parameter,
            state), all elementwise.
        initial_state: (structure or parameter group) -> the state's tensors by name, each with the value that
            fills it before the first step.
        counts_steps: Whether PyTorch keeps the number of steps in the state.
    """

    update: Callable[[Array, Array, OptimizerState, Numbers, Structure, Array], tuple[Array, OptimizerState]]
    initial_state: Callable[[Structure], dict[str, float]]
    counts_steps: bool = True


def _cast(number: Array, parameter: Array) -> Array:
    """Round a scalar that was computed in double precision to the parameter's dtype."""
    return number.astype(parameter.dtype)


def _sgd(
    parameter: Array,
    gradient: Array,
    state: OptimizerState,
    numbers: Numbers,
    structure: Structure,
    step: Array,
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.SGD`."""
    gradient = gradient + _cast(numbers["weight_decay"], parameter) * parameter
    if structure["momentum"]:
        momentum = _cast(numbers["momentum"], parameter)
        buffer = momentum * state["momentum_buffer"] + _cast(1 - numbers["dampening"], parameter) * gradient
        # PyTorch creates the buffer in the first step, from the gradient without dampening.
        buffer = jnp.where(step == 1, gradient, buffer)
        state = {"momentum_buffer": buffer}
        gradient = gradient + momentum * buffer if structure["nesterov"] else buffer
    return parameter - _cast(numbers["lr"], parameter) * gradient, state


def _adam(
    parameter: Array,
    gradient: Array,
    state: OptimizerState,
    numbers: Numbers,
    structure: Structure,
    step: Array,
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adam` and `AdamW`, which differ in `decoupled_weight_decay`."""
    lr, beta1, beta2, decay = (numbers[name] for name in ("lr", "beta1", "beta2", "weight_decay"))
    if structure["decoupled_weight_decay"]:
        parameter = parameter * _cast(1 - lr * decay, parameter)
    else:
        gradient = gradient + _cast(decay, parameter) * parameter
    mean = state["exp_avg"] + _cast(1 - beta1, parameter) * (gradient - state["exp_avg"])
    square = state["exp_avg_sq"] * _cast(beta2, parameter) + _cast(1 - beta2, parameter) * gradient * gradient
    kept = {"exp_avg": mean, "exp_avg_sq": square}
    if structure["amsgrad"]:
        square = kept["max_exp_avg_sq"] = jnp.maximum(state["max_exp_avg_sq"], square)
    correction = _cast(jnp.sqrt(1 - beta2**step), parameter)
    denominator = jnp.sqrt(square) / correction + _cast(numbers["eps"], parameter)
    return parameter - _cast(lr / (1 - beta1**step), parameter) * (mean / denominator), kept


def _rmsprop(
    parameter: Array,
    gradient: Array,
    state: OptimizerState,
    numbers: Numbers,
    structure: Structure,
    step: Array,
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.RMSprop`."""
    lr, alpha, epsilon = (_cast(numbers[name], parameter) for name in ("lr", "alpha", "eps"))
    rest = _cast(1 - numbers["alpha"], parameter)
    gradient = gradient + _cast(numbers["weight_decay"], parameter) * parameter
    square = state["square_avg"] * alpha + rest * gradient * gradient
    kept = {"square_avg": square}
    if structure["centered"]:
        mean = kept["grad_avg"] = state["grad_avg"] + rest * (gradient - state["grad_avg"])
        square = square - mean * mean
    change = gradient / (jnp.sqrt(square) + epsilon)
    if structure["momentum"]:
        buffer = state["momentum_buffer"] * _cast(numbers["momentum"], parameter)
        change = kept["momentum_buffer"] = buffer + change
    return parameter - lr * change, kept


def _adagrad(
    parameter: Array,
    gradient: Array,
    state: OptimizerState,
    numbers: Numbers,
    structure: Structure,
    step: Array,
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adagrad`."""
    gradient = gradient + _cast(numbers["weight_decay"], parameter) * parameter
    lr = _cast(numbers["lr"] / (1 + (step - 1) * numbers["lr_decay"]), parameter)
    total = state["sum"] + gradient * gradient
    change = gradient / (jnp.sqrt(total) + _cast(numbers["eps"], parameter))
    return parameter - lr * change, {"sum": total}


def _adam_state(structure: Structure) -> dict[str, float]:
    state = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
    return state | {"max_exp_avg_sq": 0.0} if structure["amsgrad"] else state


def _rmsprop_state(structure: Structure) -> dict[str, float]:
    state = {"square_avg": 0.0}
    state |= {"momentum_buffer": 0.0} if structure["momentum"] else {}
    return state | ({"grad_avg": 0.0} if structure["centered"] else {})


def _sgd_state(structure: Structure) -> dict[str, float]:
    return {"momentum_buffer": 0.0} if structure["momentum"] else {}


UPDATE_RULES: Mapping[str, UpdateRule] = {
    "Adagrad": UpdateRule(_adagrad, lambda structure: {"sum": structure["initial_accumulator_value"]}),
    "Adam": UpdateRule(_adam, _adam_state),
    "AdamW": UpdateRule(_adam, _adam_state),
    "RMSprop": UpdateRule(_rmsprop, _rmsprop_state),
    "SGD": UpdateRule(_sgd, _sgd_state, counts_steps=False),
}
