"""The optimizers' updates as arithmetic on arrays: PyTorch's formulas, in its order of operations.

The numbers of a parameter group (`numbers_of`) are inputs of a program; its structure (`structure_of`) is
fixed when the program is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

Numbers = Mapping[str, Array]  # float64 [], by name
Slots = dict[str, Array]  # of one parameter, shaped like it
Group = Mapping[str, Any]

STEP = "step"


@dataclass(frozen=True)
class Rule:
    """How one optimizer updates one parameter.

    Attributes:
        update: parameter, gradient, slots, numbers, group and the number of this step (from 1), to the new
            parameter and slots.
        slots: for a parameter group, the tensors kept for each parameter, and what they are at first.
        counts: whether PyTorch keeps the number of steps among them.
    """

    update: Callable[[Array, Array, Slots, Numbers, Group, Array], tuple[Array, Slots]]
    slots: Callable[[Group], dict[str, float]]
    counts: bool = True


def _like(parameter: Array, number: Array) -> Array:
    """A number that was computed in double precision, as PyTorch's kernels take it."""
    return number.astype(parameter.dtype)


def _sgd(
    parameter: Array, gradient: Array, slots: Slots, numbers: Numbers, group: Group, step: Array
) -> tuple[Array, Slots]:
    gradient = gradient + _like(parameter, numbers["weight_decay"]) * parameter
    if group["momentum"]:
        momentum = _like(parameter, numbers["momentum"])
        kept = momentum * slots["momentum_buffer"]
        buffer = kept + _like(parameter, 1 - numbers["dampening"]) * gradient
        buffer = jnp.where(step == 1, gradient, buffer)
        slots = {"momentum_buffer": buffer}
        gradient = gradient + momentum * buffer if group["nesterov"] else buffer
    return parameter - _like(parameter, numbers["lr"]) * gradient, slots


def _adam(
    parameter: Array, gradient: Array, slots: Slots, numbers: Numbers, group: Group, step: Array
) -> tuple[Array, Slots]:
    lr, beta1, beta2, decay = (numbers[name] for name in ("lr", "beta1", "beta2", "weight_decay"))
    if group["decoupled_weight_decay"]:
        parameter = parameter * _like(parameter, 1 - lr * decay)
    else:
        gradient = gradient + _like(parameter, decay) * parameter
    mean = slots["exp_avg"] + _like(parameter, 1 - beta1) * (gradient - slots["exp_avg"])
    square = slots["exp_avg_sq"] * _like(parameter, beta2) + _like(parameter, 1 - beta2) * gradient * gradient
    kept = {"exp_avg": mean, "exp_avg_sq": square}
    if group["amsgrad"]:
        square = kept["max_exp_avg_sq"] = jnp.maximum(slots["max_exp_avg_sq"], square)
    correction = _like(parameter, jnp.sqrt(1 - beta2**step))
    denominator = jnp.sqrt(square) / correction + _like(parameter, numbers["eps"])
    return parameter - _like(parameter, lr / (1 - beta1**step)) * (mean / denominator), kept


def _rmsprop(
    parameter: Array, gradient: Array, slots: Slots, numbers: Numbers, group: Group, step: Array
) -> tuple[Array, Slots]:
    lr, alpha, epsilon = (_like(parameter, numbers[name]) for name in ("lr", "alpha", "eps"))
    rest = _like(parameter, 1 - numbers["alpha"])
    gradient = gradient + _like(parameter, numbers["weight_decay"]) * parameter
    square = slots["square_avg"] * alpha + rest * gradient * gradient
    kept = {"square_avg": square}
    if group["centered"]:
        mean = kept["grad_avg"] = slots["grad_avg"] + rest * (gradient - slots["grad_avg"])
        square = square - mean * mean
    change = gradient / (jnp.sqrt(square) + epsilon)
    if group["momentum"]:
        buffer = slots["momentum_buffer"] * _like(parameter, numbers["momentum"])
        change = kept["momentum_buffer"] = buffer + change
    return parameter - lr * change, kept


def _adagrad(
    parameter: Array, gradient: Array, slots: Slots, numbers: Numbers, group: Group, step: Array
) -> tuple[Array, Slots]:
    gradient = gradient + _like(parameter, numbers["weight_decay"]) * parameter
    lr = _like(parameter, numbers["lr"] / (1 + (step - 1) * numbers["lr_decay"]))
    total = slots["sum"] + gradient * gradient
    change = gradient / (jnp.sqrt(total) + _like(parameter, numbers["eps"]))
    return parameter - lr * change, {"sum": total}


def _adam_slots(group: Group) -> dict[str, float]:
    slots = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
    return slots | {"max_exp_avg_sq": 0.0} if group["amsgrad"] else slots


def _rmsprop_slots(group: Group) -> dict[str, float]:
    slots = {"square_avg": 0.0}
    slots |= {"momentum_buffer": 0.0} if group["momentum"] else {}
    return slots | ({"grad_avg": 0.0} if group["centered"] else {})


def _sgd_slots(group: Group) -> dict[str, float]:
    return {"momentum_buffer": 0.0} if group["momentum"] else {}


RULES: Mapping[str, Rule] = {
    "Adagrad": Rule(_adagrad, lambda group: {"sum": group["initial_accumulator_value"]}),
    "Adam": Rule(_adam, _adam_slots),
    "AdamW": Rule(_adam, _adam_slots),
    "RMSprop": Rule(_rmsprop, _rmsprop_slots),
    "SGD": Rule(_sgd, _sgd_slots, counts=False),
}
