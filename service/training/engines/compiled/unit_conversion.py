"""Conversion of outputs and targets to the units of the targets, with constants that are arrays."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from service.training.target_units import TargetUnits

MAX_STEPS = 2
"""Maximum number of affine steps, with an `expm1` between them: targets with one `log1p`."""


def unit_constants(units: TargetUnits) -> NDArray[np.float64]:
    """Return the inverse transforms of k targets as an array, see `in_target_units`.

    Returns:
        float64 [1, 2, k]; [3, 2, k] if a target has a `log1p`. The first two rows are factors and offsets of
        affine steps, the third is 1 for the targets with an `expm1` between them.
    """
    chains = units.chains
    if units.steps == 1:
        return np.array([chain[0] for chain in chains]).T[None]
    first = np.array([chain[0] for chain in chains]).T  # [2, k]
    last = np.array([chain[1] if len(chain) > 1 else (1.0, 0.0) for chain in chains]).T
    has_log = np.broadcast_to([float(len(chain) > 1) for chain in chains], first.shape)
    return np.stack([first, last, has_log])


def in_target_units(constants: Array, values: Array) -> Array:
    """Convert outputs or targets.

    Args:
        constants: The result of `unit_constants`.
        values: [B, k], one target [k], or [B, …] for tensors, which have one chain of transforms. Windows
            may be flat, [B, horizon · k].

    Returns:
        float64 of the shape of `values`.
    """
    shape, targets = values.shape, constants.shape[-1]
    if targets > 1:
        values = values.reshape(-1, targets)
    factor, offset = constants[0]
    converted: Array = values.astype(jnp.float64) * factor + offset
    if len(constants) == 1:
        return converted.reshape(shape)
    factor, offset = constants[1]
    spread: Array = jnp.where(constants[2, 0] > 0, jnp.expm1(converted), converted)
    converted = spread * factor + offset
    return converted.reshape(shape)
