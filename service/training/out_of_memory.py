"""Descriptions of out-of-memory errors: the layer that allocated, and the size."""

import re
import traceback

import torch
from torch import nn
from torch.optim import Optimizer

GIB = 2**30
# Messages of PyTorch's allocators, on a CPU and on a GPU, and of XLA.
_CPU = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")
_CUDA = re.compile(r"CUDA out of memory. Tried to allocate ([\d.]+ \wiB)")
_XLA = re.compile(r"RESOURCE_EXHAUSTED: Out of memory \D*(\d+) bytes")
_MESSAGES = ("can't allocate memory", "bad_alloc", "RESOURCE_EXHAUSTED: Out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was raised because memory ran out."""
    types = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, types) or any(message in str(error) for message in _MESSAGES)


def describe(error: BaseException, model: nn.Module | None) -> str:
    """Describe an out-of-memory error, e.g. "Layer `0` (Linear) tried to allocate 37.3 GiB".

    Args:
        error: An error for which `is_out_of_memory` is true.
        model: The model in training; None before it is built.
    """
    return f"{_origin(error, model)} tried to allocate {_requested_size(str(error)) or 'memory'}"


def _requested_size(message: str) -> str | None:
    if match := _CPU.search(message) or _XLA.search(message):
        return f"{int(match[1]) / GIB:.1f} GiB"
    match = _CUDA.search(message)
    return match[1] if match else None


def _origin(error: BaseException, model: nn.Module | None) -> str:
    """Find the innermost layer in the traceback, otherwise the optimizer or the backward pass."""
    if model is None:
        return "Reading the data and building the model"
    names = {module: name for name, module in model.named_modules() if name}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in names:
            return f"Layer `{names[owner]}` ({type(owner).__name__})"
        if isinstance(owner, Optimizer):
            return f"The optimizer ({type(owner).__name__})"
        if frame.f_code.co_name == "backward":
            return "The backward pass"
    return "The training"
