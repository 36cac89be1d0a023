"""Recurrent layers as scans over the time steps.

Shapes in comments: T time steps, B sequences, I inputs of a step, H elements of a state, G = gates · H.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

States = tuple[Array, ...]  # h [B, H], and of an LSTM c [B, H]; h is smaller if it is projected


def _lstm(gates: Array, of_state: Array, states: States) -> States:
    i, f, g, o = jnp.split(gates + of_state, 4, axis=-1)
    c = lax.logistic(f) * states[1] + lax.logistic(i) * jnp.tanh(g)
    return lax.logistic(o) * jnp.tanh(c), c


def _gru(gates: Array, of_state: Array, states: States) -> States:
    (h,) = states
    r, z, n = jnp.split(gates, 3, axis=-1)
    state_r, state_z, state_n = jnp.split(of_state, 3, axis=-1)
    candidate = jnp.tanh(n + lax.logistic(r + state_r) * state_n)
    update = lax.logistic(z + state_z)
    return (candidate + update * (h - candidate),)


def _rnn(activation: Callable[[Array], Array], gates: Array, of_state: Array, states: States) -> States:
    return (activation(gates + of_state),)


# By PyTorch's name: (summands from the input [B, G], summands from h [B, G], states) -> states after a step.
_CELLS: Mapping[str, Callable[[Array, Array, States], States]] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn_relu": partial(_rnn, jax.nn.relu),
    "rnn_tanh": partial(_rnn, jnp.tanh),
}


def _layer(
    cell: str, x: Array, states: Sequence[Array], weights: Sequence[Array], reverse: bool
) -> list[Any]:
    """Run one direction of a layer.

    Args:
        cell: Name of the cell, a key of `_CELLS`.
        x: Inputs [T, B, I].
        states: Initial states.
        weights: As PyTorch orders them: from the input [G, I], from the state [G, H], two biases [G] if the
            layer has them, and the projection of h if it has one.
        reverse: Whether the last step comes first.

    Returns:
        The outputs [T, B, H], the final states, and the function that computes the gradients.
    """
    from_x, from_h, *others = weights
    projection = others.pop() if len(others) % 2 else None
    of_x, of_h = others or (jnp.zeros(len(from_x), x.dtype),) * 2
    gates = jnp.matmul(x, from_x.T) + of_x  # [T, B, G]
    # A summand of each step, whose gradient is that of `h @ from_h.T`. Thus the gradient of the weights is
    # one product of matrices, instead of a sum that the backward scan carries from step to step.
    shifts = jnp.broadcast_to(of_h, gates.shape)

    def run(gates: Array, shifts: Array, states: States, projection: Array | None) -> tuple[Array, States]:
        def step(states: States, summands: tuple[Array, Array]) -> tuple[States, Array]:
            h, *more = _CELLS[cell](summands[0], jnp.matmul(states[0], from_h.T) + summands[1], states)
            h = h if projection is None else jnp.matmul(h, projection.T)
            return (h, *more), h

        final, outputs = lax.scan(step, states, (gates, shifts), reverse=reverse)
        return outputs, final

    (outputs, final), pull_back = jax.vjp(run, gates, shifts, tuple(states), projection)

    def gradients(of_outputs: Array, *of_final: Array) -> list[Array]:
        """Return the gradients of inputs, initial states and weights."""
        of_gates, of_shifts, of_states, of_projection = pull_back((of_outputs, tuple(of_final)))
        first = states[0][None]
        before = (outputs[1:], first) if reverse else (first, outputs[:-1])
        of_weights = [
            jnp.einsum("tbg,tbi->gi", of_gates, x),
            jnp.einsum("tbg,tbh->gh", of_shifts, jnp.concatenate(before)),
        ]
        if others:
            of_weights += [jnp.sum(each, axis=(0, 1)) for each in (of_gates, of_shifts)]
        if projection is not None:
            of_weights.append(of_projection)
        return [jnp.matmul(of_gates, from_x), *of_states, *of_weights]

    return [outputs, *final, gradients]


def _backward(
    gradients: Callable[..., list[Array]], of_results: Sequence[Array], *inputs: Any
) -> list[Array]:
    return gradients(*of_results)


RECURRENCE: Mapping[str, Callable[..., Any]] = {
    "fitserve.recurrent_layer": _layer,
    "fitserve.recurrent_layer_backward": _backward,
}
