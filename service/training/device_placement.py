"""Samples where a training wants them: on its device, or beside it, to be gathered batch by batch."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from service.datasets.samples import Samples
from service.training.losses import Loss


def room_bytes(device: torch.device) -> float:
    """What data may take of a device: of a GPU half of what is free, since a model is to come; else any."""
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for later
    return (free + kept) / 2


def placed(
    samples: Samples, loss: Loss, device: torch.device, room: Callable[[torch.device], float] = room_bytes
) -> Samples:
    """The samples on a device, with targets of the type that the loss takes.

    Samples that are gathered batch by batch stay where they are: each batch is moved by itself. So are those
    that there is no room for on the device.
    """
    targets = samples.targets if loss.target_dtype is None else samples.targets.to(loss.target_dtype)
    typed = Samples(samples.inputs, targets, samples.order)
    if typed.order is not None:
        return typed
    if typed.nbytes > room(device):
        return replace(typed, order=torch.arange(typed.rows))
    return typed.to(device)
