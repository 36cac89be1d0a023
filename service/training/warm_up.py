"""Warm-up of a process: imports and thread starts of a first training step, before the first job."""

import numpy as np
import torch
from torch import nn

from service.training.engines import optional


def warm_up_before_fork() -> None:
    """Import in a parent what its children inherit: optimizers, the meta device and the compiled engine.

    No backward pass and no parallel region may run here: they start threads, which a fork does not copy.
    """
    torch.set_num_threads(1)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # the first step imports a large part of PyTorch
    # The first operator that PyTorch implements in Python on the meta device imports all of them.
    torch.eye(1, device="meta").repeat(1, 1)
    optional.preload()


def reseed() -> None:
    """Seed the global generators from the operating system: a fork gives all children the same state."""
    torch.seed()
    np.random.seed()


def warm_up(device: torch.device) -> None:
    """Take a complete training step on a device, with a backward pass."""
    model = nn.Linear(1, 1, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row = torch.zeros(1, 1, device=device)
    loss = nn.functional.mse_loss(model(row), row)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
