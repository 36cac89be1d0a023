"""The optimizers' updates as arithmetic on arrays: PyTorch's formulas, in its order of operations.

The numeric hyperparameters of a parameter group (`service.training.optimizers.numbers_of`) are inputs of a
program; its flags (`structure_of`) are fixed when the program is compiled, so that Python's `if` on them
costs nothing at run time.

PyTorch computes scalar factors such as `1 - beta1` or `lr / (1 - beta1**step)` in double precision and rounds
once, when a float32 kernel takes them. Each factor is therefore computed here from float64 numbers and cast
as a whole (`cast`); casting its parts first would round differently.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
from jax import Array

from service.training.engines.compiled.matrix_optimizers import ADAFACTOR, MUON
from service.training.engines.compiled.update_rule import (
    SHARED_NUMBER,
    OptimizerState,
    StateTensor,
    Step,
    Structure,
    UpdateRule,
    cast,
)


def _sgd(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.SGD`."""
    numbers, structure = step.numbers, step.structure
    gradient = gradient + cast(numbers["weight_decay"], parameter) * parameter
    if structure["momentum"]:
        momentum = cast(numbers["momentum"], parameter)
        buffer = momentum * state["momentum_buffer"] + cast(1 - numbers["dampening"], parameter) * gradient
        # PyTorch creates the buffer in the first step, from the gradient without dampening.
        buffer = jnp.where(step.is_first(), gradient, buffer)
        state = {"momentum_buffer": buffer}
        gradient = gradient + momentum * buffer if structure["nesterov"] else buffer
    return parameter - cast(numbers["lr"], parameter) * gradient, state


def _decayed(parameter: Array, gradient: Array, step: Step) -> tuple[Array, Array]:
    """Apply weight decay to the parameter if it is decoupled, otherwise to the gradient."""
    decay = step.numbers["weight_decay"]
    if step.structure["decoupled_weight_decay"]:
        return parameter * cast(1 - step.numbers["lr"] * decay, parameter), gradient
    return parameter, gradient + cast(decay, parameter) * parameter


def _moments(gradient: Array, state: OptimizerState, step: Step) -> tuple[Array, Array]:
    """Return the moving averages of the gradient and of its square, without the correction of their bias."""
    beta1, beta2 = step.numbers["beta1"], step.numbers["beta2"]
    mean = state["exp_avg"] + cast(1 - beta1, gradient) * (gradient - state["exp_avg"])
    square = state["exp_avg_sq"] * cast(beta2, gradient) + cast(1 - beta2, gradient) * gradient * gradient
    return mean, square


def _adam(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adam` and `AdamW`, which differ in `decoupled_weight_decay`."""
    lr, beta1, beta2, epsilon = (step.numbers[name] for name in ("lr", "beta1", "beta2", "eps"))
    parameter, gradient = _decayed(parameter, gradient, step)
    mean, square = _moments(gradient, state, step)
    kept = {"exp_avg": mean, "exp_avg_sq": square}
    if step.structure["amsgrad"]:
        square = kept["max_exp_avg_sq"] = jnp.maximum(state["max_exp_avg_sq"], square)
    correction = cast(jnp.sqrt(1 - beta2**step.count), parameter)
    denominator = jnp.sqrt(square) / correction + cast(epsilon, parameter)
    return parameter - cast(lr / (1 - beta1**step.count), parameter) * (mean / denominator), kept


def _rmsprop(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.RMSprop`."""
    numbers, structure = step.numbers, step.structure
    lr, alpha, epsilon = (cast(numbers[name], parameter) for name in ("lr", "alpha", "eps"))
    rest = cast(1 - numbers["alpha"], parameter)
    gradient = gradient + cast(numbers["weight_decay"], parameter) * parameter
    square = state["square_avg"] * alpha + rest * gradient * gradient
    kept = {"square_avg": square}
    if structure["centered"]:
        mean = kept["grad_avg"] = state["grad_avg"] + rest * (gradient - state["grad_avg"])
        square = square - mean * mean
    change = gradient / (jnp.sqrt(square) + epsilon)
    if structure["momentum"]:
        buffer = state["momentum_buffer"] * cast(numbers["momentum"], parameter)
        change = kept["momentum_buffer"] = buffer + change
    return parameter - lr * change, kept


def _adagrad(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adagrad`."""
    numbers = step.numbers
    gradient = gradient + cast(numbers["weight_decay"], parameter) * parameter
    lr = cast(numbers["lr"] / (1 + (step.count - 1) * numbers["lr_decay"]), parameter)
    total = state["sum"] + gradient * gradient
    change = gradient / (jnp.sqrt(total) + cast(numbers["eps"], parameter))
    return parameter - lr * change, {"sum": total}


def _adadelta(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adadelta`."""
    numbers = step.numbers
    rho, rest = cast(numbers["rho"], parameter), cast(1 - numbers["rho"], parameter)
    epsilon = cast(numbers["eps"], parameter)
    gradient = gradient + cast(numbers["weight_decay"], parameter) * parameter
    square = state["square_avg"] * rho + rest * gradient * gradient
    change = jnp.sqrt(state["acc_delta"] + epsilon) / jnp.sqrt(square + epsilon) * gradient
    changes = state["acc_delta"] * rho + rest * change * change
    return parameter - cast(numbers["lr"], parameter) * change, {"square_avg": square, "acc_delta": changes}


def _adamax(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Adamax`."""
    lr, beta1, beta2, epsilon = (step.numbers[name] for name in ("lr", "beta1", "beta2", "eps"))
    gradient = gradient + cast(step.numbers["weight_decay"], parameter) * parameter
    mean = state["exp_avg"] + cast(1 - beta1, parameter) * (gradient - state["exp_avg"])
    largest = jnp.maximum(
        state["exp_inf"] * cast(beta2, parameter), jnp.abs(gradient) + cast(epsilon, parameter)
    )
    changed = parameter - cast(lr / (1 - beta1**step.count), parameter) * (mean / largest)
    return changed, {"exp_avg": mean, "exp_inf": largest}


def _nadam(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.NAdam`."""
    lr, beta1, beta2, epsilon = (step.numbers[name] for name in ("lr", "beta1", "beta2", "eps"))
    parameter, gradient = _decayed(parameter, gradient, step)
    mean, square = _moments(gradient, state, step)

    def momentum(count: Array) -> Array:
        return beta1 * (1 - 0.5 * 0.96 ** (count * step.numbers["momentum_decay"]))

    now, following = momentum(step.count), momentum(step.count + 1)
    product = state["mu_product"] * now.astype(jnp.float32)
    denominator = jnp.sqrt(square / cast(1 - beta2**step.count, parameter)) + cast(epsilon, parameter)
    for_gradient = lr * (1 - now) / (1 - product.astype(jnp.float64))
    for_mean = lr * following / (1 - product.astype(jnp.float64) * following)
    parameter = parameter - cast(for_gradient, parameter) * (gradient / denominator)
    parameter = parameter - cast(for_mean, parameter) * (mean / denominator)
    return parameter, {"exp_avg": mean, "exp_avg_sq": square, "mu_product": product}


def _radam(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.RAdam`."""
    lr, beta1, beta2, epsilon = (step.numbers[name] for name in ("lr", "beta1", "beta2", "eps"))
    parameter, gradient = _decayed(parameter, gradient, step)
    mean, square = _moments(gradient, state, step)
    correction = 1 - beta2**step.count
    longest = 2 / (1 - beta2) - 1  # the length of the approximated moving average after infinitely many steps
    length = longest - 2 * step.count * beta2**step.count / correction
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    is_long = length > 5
    factor = jnp.sqrt(jnp.where(is_long, correction * rectified, 1))
    divisor = jnp.where(is_long, jnp.sqrt(square) + cast(epsilon, parameter), 1)
    change = mean / cast(1 - beta1**step.count, parameter) * (cast(lr * factor, parameter) / divisor)
    return parameter - change, {"exp_avg": mean, "exp_avg_sq": square}


def _rprop(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.Rprop`."""
    lr, minus, plus, least, largest = (
        cast(step.numbers[name], parameter)
        for name in ("lr", "eta_minus", "eta_plus", "step_size_min", "step_size_max")
    )
    turn = jnp.sign(gradient * state["prev"])
    size = jnp.where(step.is_first(), lr, state["step_size"])
    size = jnp.clip(size * jnp.where(turn > 0, plus, jnp.where(turn < 0, minus, 1)), least, largest)
    gradient = jnp.where(turn < 0, 0, gradient)
    return parameter - jnp.sign(gradient) * size, {"prev": gradient, "step_size": size}


def _asgd(
    parameter: Array, gradient: Array, state: OptimizerState, step: Step
) -> tuple[Array, OptimizerState]:
    """The update of `torch.optim.ASGD`."""
    numbers, lr = step.numbers, step.numbers["lr"]
    gradient = gradient + cast(numbers["weight_decay"], parameter) * parameter
    # PyTorch keeps rates in single precision and computes with them in double precision.
    rate = jnp.where(step.is_first(), lr.astype(jnp.float32), state["eta"]).astype(jnp.float64)
    parameter = parameter * cast(1 - numbers["lambd"] * rate, parameter) - cast(rate, parameter) * gradient
    share = jnp.where(step.is_first(), 1, state["mu"])
    average = state["ax"] + (parameter - state["ax"]) * cast(share, parameter)
    average = jnp.where(share == 1, parameter, average)
    next_rate = lr / (1 + numbers["lambd"] * lr * step.count) ** numbers["alpha"]
    next_share = 1 / jnp.maximum(1, step.count - numbers["t0"])
    return parameter, {
        "ax": average,
        "eta": next_rate.astype(jnp.float32),
        "mu": next_share.astype(jnp.float32),
    }


def _adam_state(structure: Structure) -> dict[str, StateTensor]:
    # RAdam has no `amsgrad`.
    return _zeros("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if structure.get("amsgrad") else []))


def _rmsprop_state(structure: Structure) -> dict[str, StateTensor]:
    momentum = ["momentum_buffer"] if structure["momentum"] else []
    return _zeros("square_avg", *momentum, *(["grad_avg"] if structure["centered"] else []))


def _sgd_state(structure: Structure) -> dict[str, StateTensor]:
    return _zeros("momentum_buffer") if structure["momentum"] else {}


def _zeros(*names: str) -> dict[str, StateTensor]:
    """Return tensors of the shape of the parameter that are 0 before the first step."""
    return {name: StateTensor() for name in names}


UPDATE_RULES: Mapping[str, UpdateRule] = {
    "ASGD": UpdateRule(_asgd, lambda structure: _zeros("ax") | {"eta": SHARED_NUMBER, "mu": SHARED_NUMBER}),
    "Adadelta": UpdateRule(_adadelta, lambda structure: _zeros("square_avg", "acc_delta")),
    "Adafactor": ADAFACTOR,
    "Adagrad": UpdateRule(
        _adagrad, lambda group: {"sum": StateTensor(group.get("initial_accumulator_value", 0.0))}
    ),
    "Adam": UpdateRule(_adam, _adam_state),
    "AdamW": UpdateRule(_adam, _adam_state),
    "Adamax": UpdateRule(_adamax, lambda structure: _zeros("exp_avg", "exp_inf")),
    "Muon": MUON,
    "NAdam": UpdateRule(
        _nadam, lambda structure: _adam_state(structure) | {"mu_product": replace(SHARED_NUMBER, fill=1.0)}
    ),
    "RAdam": UpdateRule(_radam, _adam_state),
    "RMSprop": UpdateRule(_rmsprop, _rmsprop_state),
    "Rprop": UpdateRule(_rprop, lambda structure: _zeros("prev", "step_size")),
    "SGD": UpdateRule(_sgd, _sgd_state, counts_steps=False),
}
"""The updates of all optimizers of `service.training.optimizers`."""
