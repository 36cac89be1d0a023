"""The first step of a process: it imports and starts much, so that no job's first step does."""

import numpy as np
import torch
from torch import nn


def warm_up_before_fork() -> None:
    """Do what children inherit: PyTorch on one thread, its optimizers and its meta device imported.

    Nothing here runs a backward pass or a parallel region: either would break the children.
    """
    torch.set_num_threads(1)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # the first imports a large part of PyTorch
    # The first operator that PyTorch implements in Python imports them all.
    torch.eye(1, device="meta").repeat(1, 1)


def reseed() -> None:
    """Seed the global generators from the operating system: a fork has copied their state."""
    torch.seed()
    np.random.seed()


def warm_up(device: torch.device) -> None:
    """Take a training step, backward pass included."""
    model = nn.Linear(1, 1, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row = torch.zeros(1, 1, device=device)
    loss = nn.functional.mse_loss(model(row), row)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
