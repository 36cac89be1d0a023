"""Running out of memory, in words: what asked for how much."""

import re
from collections.abc import Iterator
from types import FrameType

import torch
from torch import nn
from torch.optim import Optimizer

GIB = 2**30
# As PyTorch's allocators say it, on the CPU and on a GPU, and as XLA does.
_CPU = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")
_CUDA = re.compile(r"CUDA out of memory. Tried to allocate ([\d.]+ \wiB)")
_XLA = re.compile(r"RESOURCE_EXHAUSTED: Out of memory \D*(\d+) bytes")
_SIGNS = ("can't allocate memory", "bad_alloc", "RESOURCE_EXHAUSTED: Out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out."""
    known = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or any(sign in str(error) for sign in _SIGNS)


def describe(error: BaseException, model: nn.Module | None) -> str:
    """What ran out of memory, as the beginning of a sentence: "Layer `0` (Linear) asked for 37.3 GiB".

    Args:
        error: one that `is_out_of_memory`.
        model: the one in training; None before there is one.
    """
    asked = _asked(str(error))
    return f"{_place(error, model)} asked for {asked or 'memory'}"


def _asked(message: str) -> str | None:
    if match := _CPU.search(message) or _XLA.search(message):
        return f"{int(match[1]) / GIB:.1f} GiB"
    match = _CUDA.search(message)
    return match[1] if match else None


def _place(error: BaseException, model: nn.Module | None) -> str:
    """The innermost layer at work when the error came, or else what else a step consists of."""
    if model is None:
        return "Reading the data and building the model"
    names = {module: name for name, module in model.named_modules() if name}
    for frame in _frames(error):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in names:
            return f"Layer `{names[owner]}` ({type(owner).__name__})"
        if isinstance(owner, Optimizer):
            return f"The optimizer ({type(owner).__name__})"
        if frame.f_code.co_name == "backward":
            return "The backward pass"
    return "The training"


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames of the traceback, the innermost first."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return reversed(frames)
