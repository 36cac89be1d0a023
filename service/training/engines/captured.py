"""A step's passes as CUDA graphs: a small model's step takes as long as its kernels take to be started.

The forward and the backward pass of a full batch are captured once and replayed for each step, every kernel
of a pass by one call. The optimizer, which takes few kernels, stays outside, and so does a batch of another
size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from service.datasets.prepare import Part

Capture = Callable[..., Any]
"""As `torch.cuda.make_graphed_callables`."""
# Capturing takes as long as some tens of steps.
LEAST_STEPS = 100


class Passes(nn.Module):
    """From a batch's targets and inputs to its loss [] and the model's outputs, which get no gradient."""

    def __init__(self, model: nn.Module, loss_fn: nn.Module, precision: str) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn
        self._half = precision == "bfloat16"

    def forward(self, targets: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the outputs."""
        # The cache would keep a weight as it was when it was captured.
        with torch.autocast(targets.device.type, torch.bfloat16, self._half, cache_enabled=False):
            outputs = self.model(*inputs)
            return self.loss_fn(outputs, targets), outputs.detach()


class CapturedPasses:
    """The passes of batches of one size, replayed.

    Replaying writes to the same memory each time: what is given out are copies. Gradients are not: those of
    a parameter lie where the next step's will.
    """

    def __init__(self, replay: Callable[..., tuple[Tensor, Tensor]], rows: int) -> None:
        self._replay = replay
        self.rows = rows

    def __call__(self, batch: Part) -> tuple[Tensor, Tensor]:
        """The loss of a batch, to be differentiated once, and the outputs."""
        loss, outputs = self._replay(batch.targets, *batch.inputs)
        return loss.clone(), outputs.clone()


def capture_passes(passes: Passes, batch: Part, capture: Capture) -> CapturedPasses | None:
    """Capture the passes of batches like one; None where something in them can't be.

    To capture them they are run a few times. What that changes of the model's buffers and of the random
    numbers to come is undone, so that the training is what it would be without.

    Args:
        passes: in training mode.
        batch: each one to come is copied into its tensors, unless it has the same.
        capture: what does it.
    """
    device = batch.targets.device
    buffers = [(buffer, buffer.clone()) for buffer in passes.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            replay = capture(passes, (batch.targets, *batch.inputs), allow_unused_input=True)
        except RuntimeError:  # it waits for the device, say, or there is no memory for it
            return None
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
    return CapturedPasses(replay, batch.rows)
