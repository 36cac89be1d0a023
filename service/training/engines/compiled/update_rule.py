"""The update of parameters by an optimizer, as arithmetic on arrays."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  # of parameters by name; the order defines the flat vectors
OptimizerState = dict[str, Array]  # the tensors of one parameter by name
Structure = Mapping[str, Any]  # the flags of a parameter group, see `structure_of`

STEP = "step"  # PyTorch's name of the step count in an optimizer's state


@dataclass(frozen=True)
class Step:
    """What an update depends on besides the parameter, its gradient and its state.

    Attributes:
        numbers: Numeric hyperparameters by name, float64 [].
        structure: Flags of the parameter group.
        count: Number of this step, from 1.
    """

    numbers: Mapping[str, Array]
    structure: Structure
    count: Array

    def is_first(self) -> Array:
        """Return whether PyTorch creates the state in this step."""
        return self.count == 1


@dataclass(frozen=True)
class StateTensor:
    """A tensor that an optimizer keeps for each parameter.

    Attributes:
        fill: The value that fills it before the first step.
        shape: Its shape by that of the parameter; None for a parameter that has no such tensor.
        is_shared: Whether it is one float32 number [], equal for all parameters: all take the same steps.
    """

    fill: float = 0.0
    shape: Callable[[Shape], Shape | None] = lambda shape: shape
    is_shared: bool = False

    def shapes(self, parameters: Shapes) -> Shapes:
        """Return its shapes by parameter, without the parameters that have none."""
        found = {name: self.shape(shape) for name, shape in parameters.items()}
        return {name: shape for name, shape in found.items() if shape is not None}


SHARED_NUMBER = StateTensor(shape=lambda shape: (), is_shared=True)


@dataclass(frozen=True)
class UpdateRule:
    """The update of one parameter by an optimizer.

    Attributes:
        update: (parameter, gradient, state, step) -> (parameter, state).
        state: (structure or parameter group) -> the tensors of the state by name.
        counts_steps: Whether PyTorch keeps the number of steps in the state.
        is_elementwise: Whether the flat vector of all parameters can be updated as if it were one parameter.
    """

    update: Callable[[Array, Array, OptimizerState, Step], tuple[Array, OptimizerState]]
    state: Callable[[Structure], dict[str, StateTensor]]
    counts_steps: bool = True
    is_elementwise: bool = True

    def update_all(
        self, shapes: Shapes, parameters: Array, gradients: Array, state: OptimizerState, step: Step
    ) -> tuple[Array, OptimizerState]:
        """Update all parameters.

        Args:
            shapes: Shapes of the parameters.
            parameters: [P], flat.
            gradients: [P], flat.
            state: Each tensor of the state, flat, or [] if it is shared.
            step: The step.
        """
        if self.is_elementwise:
            return self.update(parameters, gradients, state, step)
        values, slopes = unflatten(shapes, parameters), unflatten(shapes, gradients)
        tensors = self.state(step.structure)
        kept = {key: unflatten(tensor.shapes(shapes), state[key]) for key, tensor in tensors.items()}
        for name in shapes:
            own = {key: by_name[name] for key, by_name in kept.items() if name in by_name}
            values[name], changed = self.update(values[name], slopes[name], own, step)
            for key, value in changed.items():
                kept[key][name] = value
        return flatten(values), {key: flatten(by_name, state[key]) for key, by_name in kept.items()}


def flatten(tensors: Mapping[str, Array], empty: Array | None = None) -> Array:
    """Join tensors to one vector; the vector without any tensors is `empty`."""
    if not tensors and empty is not None:
        return empty
    return jnp.concatenate([each.ravel() for each in tensors.values()])


def unflatten(shapes: Shapes, vector: Any) -> dict[str, Any]:
    """Split a vector into tensors by name, in the order of `shapes`.

    Args:
        shapes: Their shapes.
        vector: A JAX or NumPy array with the elements of all tensors.
    """
    tensors, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        tensors[name] = vector[start:end].reshape(shape)
        start = end
    return tensors


def cast(number: Array, parameter: Array) -> Array:
    """Round a scalar that was computed in double precision to the parameter's dtype."""
    return number.astype(parameter.dtype)
