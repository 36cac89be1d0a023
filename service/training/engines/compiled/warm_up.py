"""Warm-up: the first trace and the first program of a process take seconds, which no job should wait for."""

import jax
import jax.numpy as jnp
import torch
import torch.hub
from torch import nn

from service.datasets.samples import Samples
from service.training.engines.compiled.tracing import Trace, trace
from service.training.engines.compiled.translation import translated


def trace_forward() -> Trace:
    """Trace the forward pass of a tiny model, which makes PyTorch import its tracer.

    It runs no backward pass and no JAX computation, so that a process may fork afterwards.
    """
    # torch.fx uses tqdm, whose monitor is a thread: a process with threads must not fork.
    torch.hub.tqdm.monitor_interval = 0  # type: ignore[attr-defined]
    batch = torch.zeros(2, 1)
    return trace(nn.Linear(1, 1), nn.MSELoss(), Samples((batch,), batch), gradients=False)


def trace_step() -> None:
    """Trace a step of a tiny model, backward pass included."""
    batch = torch.zeros(2, 1)
    trace(nn.Linear(1, 1), nn.MSELoss(), Samples((batch,), batch), gradients=True)


def warm_up_compiling() -> None:
    """Compile the forward pass of a tiny model, which makes JAX start its backend."""
    shapes = ((1, 1), (1,), (2, 1), (2, 1))  # weight, bias, inputs, targets
    arguments = [jnp.zeros(shape, jnp.float32) for shape in shapes]
    jax.jit(translated(trace_forward().graph)).lower(*arguments).compile()
