"""Placement of samples: on the training's device, or in host memory, from where batches are gathered."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from service.datasets.samples import Samples
from service.training.losses import Loss


def available_bytes(device: torch.device) -> float:
    """Return the memory of a device that samples may use, in bytes.

    On a GPU this is half of the free memory; the other half is for the model. Otherwise it is unlimited.
    """
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch's caching allocator holds freed memory, which CUDA does not count as free.
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + cached) / 2


def place_samples(
    samples: Samples,
    loss: Loss,
    device: torch.device,
    available: Callable[[torch.device], float] = available_bytes,
) -> Samples:
    """Move samples to a device and cast their targets to the data type of the loss.

    Samples that are gathered batch by batch are not moved, and neither are samples too large for the device:
    they get an `order`, by which each batch is gathered and moved.

    Args:
        samples: The samples, in host memory.
        loss: The loss, which determines the data type of the targets.
        device: The device of the model.
        available: Function that returns the memory of a device for samples, in bytes.
    """
    targets = samples.targets if loss.target_dtype is None else samples.targets.to(loss.target_dtype)
    typed = replace(samples, targets=targets)
    if typed.order is not None:
        return typed
    if typed.nbytes > available(device):
        return replace(typed, order=torch.arange(typed.rows))
    return typed.to(device)
