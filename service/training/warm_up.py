"""A process's first step: it costs a second or two, so that no job's first step does."""

import torch
from torch import nn


def warm_up(device: torch.device) -> None:
    """Take one step of a tiny training: the first optimizer of a process imports a large part of PyTorch."""
    model = nn.Linear(1, 1, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row = torch.zeros(1, 1, device=device)
    loss = nn.functional.mse_loss(model(row), row)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def warm_up_meta() -> None:
    """Meet the meta device: the first operator that PyTorch writes in Python imports them all."""
    torch.eye(1, device="meta").repeat(1, 1)
