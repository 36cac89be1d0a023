"""A step as CUDA graphs: a small model's step takes as long as its kernels take to be started.

The pass forward, the pass backward and the update of a full batch are captured once each and replayed for
each step, every kernel of one by one call. A batch of another size is trained without, and so is what can't
be captured.
"""

from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from service.datasets.prepare import Part
from service.training.engines.passes import Passes

log = structlog.get_logger()

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Makes a graph of what a function does on the GPU, without doing it; what it returns does it.

Tensors made in the function lie in the same memory each time.
"""
# Capturing takes as long as some tens of steps.
LEAST_STEPS = 100


class CudaGraphs:
    """Captures with `torch.cuda.CUDAGraph`. Graphs share their memory: they are replayed in their order."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Other threads may go on: one pins the next batch.
            graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay


class Captured:
    """The steps of batches of one size, replayed.

    What `forward` gives out are copies. Gradients are not: a parameter's lies where the next step's will.

    Args:
        passes: what is captured. They, and a step of the optimizer, were run once before: what is made at the
            first time can't be captured.
        optimizer: its steps are captured while its numbers stay: a learning rate is part of the graph.
        batch: one like those to come, which are copied into its tensors unless they are the same.

    Raises:
        RuntimeError: something in the passes can't be captured (it waits for the GPU, say), or there is no
            memory for it.
    """

    def __init__(self, passes: Passes, optimizer: Optimizer, batch: Part, capture: Capture) -> None:
        self._passes = passes
        self._optimizer = optimizer
        self._batch = batch
        self._capture: Capture | None = capture if _counts_on_gpu(optimizer) else None
        self._parameters = list(passes.model.parameters())
        self._gradients: list[Tensor | None] = []
        self._loss = self._outputs = batch.targets
        self._forward = capture(self._run_forward)
        self._backward = capture(self._run_backward)
        self._numbers: list[dict[str, Any]] = []
        self._update: Callable[[], None] | None = None

    @property
    def rows(self) -> int:
        """Of the batches that it takes."""
        return self._batch.rows

    def forward(self, batch: Part) -> tuple[Tensor, Tensor]:
        """The loss of a batch [] and the model's outputs."""
        for mine, theirs in zip(self._batch.tensors, batch.tensors, strict=True):
            if mine is not theirs:
                mine.copy_(theirs)
        self._forward()
        return self._loss.detach().clone(), self._outputs.detach().clone()

    def step(self) -> None:
        """Pass backward from the last loss, and update the parameters."""
        self._backward()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient  # a batch of another size has left others
        numbers = [{**group, "params": None} for group in self._optimizer.param_groups]
        if numbers != self._numbers:
            self._numbers, self._update = numbers, None
        elif self._update is None and self._capture is not None:  # the same as in the step before
            self._update = self._captured_update(self._capture)
        if self._update is None:
            self._optimizer.step()
        else:
            self._update()

    def _captured_update(self, capture: Capture) -> Callable[[], None] | None:
        try:
            return capture(self._run_update)
        except RuntimeError as error:
            log.warning("optimizer not captured", reason=str(error))
            self._capture = None  # once is enough
            return None

    def _run_forward(self) -> None:
        self._loss, self._outputs = self._passes.forward(self._batch)

    def _run_backward(self) -> None:
        self._passes.backward(self._loss)
        self._gradients = [parameter.grad for parameter in self._parameters]

    def _run_update(self) -> None:
        self._optimizer.step()


def _counts_on_gpu(optimizer: Optimizer) -> bool:
    """Whether all that changes in its steps lies on the GPU: those that count steps there say `capturable`."""
    return isinstance(optimizer, SGD) or "capturable" in optimizer.defaults


def captured(passes: Passes, optimizer: Optimizer, batch: Part, capture: Capture) -> Captured | None:
    """See `Captured`; None where that can't be."""
    try:
        return Captured(passes, optimizer, batch, capture)
    except RuntimeError as error:
        log.warning("step not captured", reason=str(error))
        return None
