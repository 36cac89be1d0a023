"""A process's first trace and first program: they cost seconds, so that no job's are the first."""

import jax
import jax.numpy as jnp
import torch
import torch.hub
from torch import nn

from service.training.engines.compiled.tracing import trace
from service.training.engines.compiled.translation import translated


def preload() -> None:
    """Trace a forward pass of a tiny model."""
    # Its first use, by torch.fx, would start a thread.
    torch.hub.tqdm.monitor_interval = 0  # type: ignore[attr-defined]
    batch = torch.zeros(2, 1)
    trace(nn.Linear(1, 1), nn.MSELoss(), [batch], batch, gradients=False)


def warm_up_tracing() -> None:
    """Trace a step of a tiny model: PyTorch imports what it traces with."""
    batch = torch.zeros(2, 1)
    trace(nn.Linear(1, 1), nn.MSELoss(), [batch], batch, gradients=True)


def warm_up_compiling() -> None:
    """Compile the pass forward of a tiny model: JAX starts."""
    batch = torch.zeros(2, 1)
    found = trace(nn.Linear(1, 1), nn.MSELoss(), [batch], batch, gradients=False)
    shapes = ((1, 1), (1,), (2, 1), (2, 1))  # weight, bias, inputs, targets
    jax.jit(translated(found.graph)).lower(*(jnp.zeros(shape, jnp.float32) for shape in shapes)).compile()
