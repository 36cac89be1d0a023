"""A step as CUDA graphs: a small model's step takes as long as its kernels take to be started.

The pass forward, the pass backward and the update of a full batch are captured once each and replayed for
each step, every kernel of one by one call. A batch of another size is trained without, and so is what can't
be captured.
"""

from collections.abc import Callable
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from service.datasets.samples import Samples
from service.training.engines.eager.forward_backward import Passes

log = structlog.get_logger()

Work = Callable[[], None]
# Capturing takes as long as some tens of steps, that of the update as long as some.
LEAST_STEPS, LEAST_UPDATES = 100, 10


class Capture(Protocol):
    """Makes graphs."""

    def __call__(self, work: Work, apart: bool = False) -> Work:
        """A graph of what a function does on the GPU, without doing it; what is returned does it.

        Tensors made in the function lie in the same memory each time.

        Args:
            apart: no other graph uses memory that this one has freed.
        """

    def probe(self, work: Work) -> None:
        """Do once what is going to be captured.

        Raises:
            RuntimeError: something in it waits for the GPU.
        """


class CudaGraphs:
    """Captures with `torch.cuda.CUDAGraph`; graphs that share memory must be replayed in their order."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, work: Work, apart: bool = False) -> Work:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Other threads may go on: one pins the next batch.
            graph.capture_begin(None if apart else self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay

    def probe(self, work: Work) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.empty_cache()  # graphs have memory of their own: none of what was freed until now


class CapturedStep:
    """The steps of batches of one size, replayed.

    Args:
        passes: what is captured. They, and a step of the optimizer, were run once before: what is made at the
            first time can't be captured.
        optimizer: its steps are captured while its numbers stay: a learning rate is part of the graph.
        batch: one like those to come, which are copied into its tensors unless they are the same.

    Attributes:
        batch: what the next step is taken on.
        outputs: of the last pass forward; the next one writes over them.

    Raises:
        RuntimeError: the passes can't be captured, or there is no memory for it.
        SystemExit: the capture itself has failed. PyTorch's generators and allocator stay behind as if it
            went on: the process is of no more use.
    """

    def __init__(self, passes: Passes, optimizer: Optimizer, batch: Samples, capture: Capture) -> None:
        self.batch = batch
        self._passes = passes
        self._optimizer = optimizer
        self._capture: Capture | None = capture if _counts_on_gpu(optimizer) else None
        self._parameters = list(passes.model.parameters())
        self._gradients: list[Tensor | None]
        self._loss: Tensor
        self.outputs: Tensor
        before = [parameter.grad for parameter in self._parameters]
        try:
            self._probe(capture)
            # Gradients are read after the next pass forward, too: their memory is none of its.
            self._forward = _graph(capture, self._run_forward, apart=True)
            self._backward = _graph(capture, self._run_backward)
        finally:
            self._put(before)
        self._numbers: list[dict[str, Any]] = []
        self._updates = 0  # with these numbers
        self._update: Work | None = None

    def forward(self, batch: Samples) -> Tensor:
        """The loss of a batch []."""
        for mine, theirs in zip(self.batch.tensors, batch.tensors, strict=True):
            if mine is not theirs:
                mine.copy_(theirs)
        self._forward()
        return self._loss.clone()

    def step(self) -> None:
        """Pass backward from the last loss, and update the parameters."""
        self._backward()
        self._put(self._gradients)  # a batch of another size has left others
        numbers = [{**group, "params": None} for group in self._optimizer.param_groups]
        if numbers != self._numbers:
            self._numbers, self._updates, self._update = numbers, 0, None
        if self._updates == LEAST_UPDATES and self._capture is not None:
            self._update = self._captured_update(self._capture)
        self._updates += 1
        if self._update is None:
            self._optimizer.step()
        else:
            self._update()

    def _captured_update(self, capture: Capture) -> Work | None:
        try:
            return _graph(capture, self._run_update)
        except torch.OutOfMemoryError:
            self._capture = None  # once is enough
            return None

    def _probe(self, capture: Capture) -> None:
        """Pass forward and backward; what that changes of buffers and of random numbers to come is undone."""
        device = self.batch.targets.device
        buffers = [(buffer, buffer.clone()) for buffer in self._passes.model.buffers()]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                capture.probe(lambda: self._passes.backward(self._passes.forward(self.batch)[0]))
            finally:
                for buffer, before in buffers:
                    buffer.copy_(before)

    def _put(self, gradients: list[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _run_forward(self) -> None:
        self._loss, self.outputs = self._passes.forward(self.batch)

    def _run_backward(self) -> None:
        self._passes.backward(self._loss)
        self._gradients = [parameter.grad for parameter in self._parameters]
        # The passes end here: nothing of them is to be met by those of another batch.
        self._loss, self.outputs = self._loss.detach(), self.outputs.detach()

    def _run_update(self) -> None:
        self._optimizer.step()


def _counts_on_gpu(optimizer: Optimizer) -> bool:
    """Whether all that changes in its steps lies on the GPU: those that count steps say `capturable`."""
    return isinstance(optimizer, SGD) or "capturable" in optimizer.defaults


def _graph(capture: Capture, work: Work, apart: bool = False) -> Work:
    try:
        return capture(work, apart)
    except torch.OutOfMemoryError:  # told before anything was asked of CUDA
        raise
    except RuntimeError as error:
        raise SystemExit(f"A step could not be captured as a graph: {error}") from error


def capture_step(
    passes: Passes, optimizer: Optimizer, batch: Samples, capture: Capture
) -> CapturedStep | None:
    """See `CapturedStep`; None where that can't be."""
    try:
        return CapturedStep(passes, optimizer, batch, capture)
    except RuntimeError as error:
        log.info("step not captured", reason=str(error))
        return None
