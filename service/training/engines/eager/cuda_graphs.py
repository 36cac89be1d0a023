"""CUDA graphs of training steps.

A step of a small model takes as long as launching its kernels. The forward pass, the backward pass and the
optimizer's update of a whole batch are captured once each and replayed for each step, with one launch for all
kernels of a graph. The short last batch runs without graphs, and so does a model that cannot be captured.

A graph replays the same kernels on the same memory, which determines the rules of this module:

- A batch is copied into the tensors that were captured (`CapturedStep.batch`); loss and outputs are copied
  out before the next replay overwrites them.
- Numbers that Python passes to a kernel are constants of the graph. The update is captured again whenever the
  learning rate or another number of the optimizer changes, and only after it stayed for some steps.
- Whatever PyTorch creates in a first step (the optimizer's state, cuBLAS workspaces) must exist before.
- A capture fails for good if the captured code waits for the GPU, for instance in `.item()`. A probe that
  detects this without capturing therefore runs first.
"""

from collections.abc import Callable
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from service.datasets.samples import Samples
from service.training.engines.eager.forward_backward import Outputs, Passes

log = structlog.get_logger()

Function = Callable[[], None]  # launches kernels
# Capturing both passes takes as long as some tens of steps, capturing the update as long as a few.
MIN_STEPS = 100
MIN_UPDATES = 10  # with equal numbers


class Capture(Protocol):
    """Captures functions as graphs."""

    def __call__(self, function: Function, own_pool: bool = False) -> Function:
        """Capture the kernels of a function without running them.

        Tensors that the function creates have the same memory in each replay.

        Args:
            function: The function.
            own_pool: Whether the graph gets a memory pool of its own, so that no other graph reuses memory
                that it frees.

        Returns:
            A function that replays the graph.
        """

    def probe(self, function: Function) -> None:
        """Run a function that is going to be captured.

        Raises:
            RuntimeError: The function waits for the GPU.
        """


class CudaGraphs:
    """Captures with `torch.cuda.CUDAGraph`.

    Graphs that share a pool must be replayed in the order of their capture.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, function: Function, own_pool: bool = False) -> Function:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Calls of other threads do not disturb the capture: one thread pins the next batch.
            graph.capture_begin(None if own_pool else self._pool, capture_error_mode="thread_local")
            try:
                function()
            finally:
                graph.capture_end()
        return graph.replay

    def probe(self, function: Function) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
            # Graphs allocate from pools of their own, which cannot use the freed memory of the default pool.
            torch.cuda.empty_cache()


class CapturedStep:
    """Replays the steps of batches of one size.

    Args:
        passes: The passes to capture. They and a step of the optimizer must have run once before.
        optimizer: The optimizer whose steps are captured while its numbers stay the same.
        batch: A batch of the size. Later batches are copied into its tensors unless they are the same ones.
        capture: Captures the functions.

    Attributes:
        batch: The tensors that the graphs read.
        outputs: The model's outputs of the last forward pass, [B, …] by name; the next one overwrites them.

    Raises:
        RuntimeError: The passes cannot be captured, or memory is insufficient.
        SystemExit: The capture itself failed. PyTorch's generators and allocator remain in the state of an
            ongoing capture, so that the process cannot be used any more.
    """

    def __init__(self, passes: Passes, optimizer: Optimizer, batch: Samples, capture: Capture) -> None:
        self.batch = batch
        self._passes = passes
        self._optimizer = optimizer
        self._capture: Capture | None = capture if _steps_on_gpu(optimizer) else None
        self._parameters = list(passes.model.parameters())
        self._gradients: list[Tensor | None]
        self._loss: Tensor
        self.outputs: Outputs
        gradients = [parameter.grad for parameter in self._parameters]
        try:
            self._probe(capture)
            # The gradients of a step are read after the next forward pass (checkpoints, best epoch), which
            # must not reuse their memory: the graphs have separate pools.
            self._forward = _graph(capture, self._run_forward, own_pool=True)
            self._backward = _graph(capture, self._run_backward)
        finally:
            self._set_gradients(gradients)
        self._numbers: list[dict[str, Any]] = []  # the optimizer's parameter groups without parameters
        self._updates = 0  # with these numbers
        self._update: Function | None = None

    def forward(self, batch: Samples) -> Tensor:
        """Replay the forward pass on a batch and return its loss []."""
        for captured, new in zip(self.batch.tensors, batch.tensors, strict=True):
            if captured is not new:
                captured.copy_(new)
        self._forward()
        return self._loss.clone()

    def step(self) -> None:
        """Replay the backward pass of the last loss and update the parameters."""
        self._backward()
        # The parameters have the gradients of the last step, which may have been one without graphs.
        self._set_gradients(self._gradients)
        numbers = [{**group, "params": None} for group in self._optimizer.param_groups]
        if numbers != self._numbers:
            self._numbers, self._updates, self._update = numbers, 0, None
        if self._updates == MIN_UPDATES and self._capture is not None:
            self._update = self._captured_update(self._capture)
        self._updates += 1
        if self._update is None:
            self._optimizer.step()
        else:
            self._update()

    def _captured_update(self, capture: Capture) -> Function | None:
        try:
            return _graph(capture, self._run_update)
        except torch.OutOfMemoryError:
            self._capture = None  # do not try again
            return None

    def _probe(self, capture: Capture) -> None:
        """Run both passes once, and restore the buffers and generator states that they change."""
        device = self.batch.targets.device
        buffers = [(buffer, buffer.clone()) for buffer in self._passes.model.buffers()]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                capture.probe(lambda: self._passes.backward(self._passes.forward(self.batch)[0]))
            finally:
                for buffer, before in buffers:
                    buffer.copy_(before)

    def _set_gradients(self, gradients: list[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _run_forward(self) -> None:
        self._loss, self.outputs = self._passes.forward(self.batch)

    def _run_backward(self) -> None:
        self._passes.backward(self._loss)
        self._gradients = [parameter.grad for parameter in self._parameters]
        # Release the autograd graph: passes without graphs (the short last batch) must not share its nodes.
        self._loss = self._loss.detach()
        self.outputs = {name: output.detach() for name, output in self.outputs.items()}

    def _run_update(self) -> None:
        self._optimizer.step()


def _steps_on_gpu(optimizer: Optimizer) -> bool:
    """Return whether a step changes tensors on the GPU only.

    Optimizers that count steps do so on the GPU with `capturable`.
    """
    return isinstance(optimizer, SGD) or "capturable" in optimizer.defaults


def _graph(capture: Capture, function: Function, own_pool: bool = False) -> Function:
    """Capture a function; raise `SystemExit` if the capture fails, see `CapturedStep`."""
    try:
        return capture(function, own_pool)
    except torch.OutOfMemoryError:  # raised before CUDA is called: the process remains usable
        raise
    except RuntimeError as error:
        raise SystemExit(f"A step could not be captured as a graph: {error}") from error


def capture_step(
    passes: Passes, optimizer: Optimizer, batch: Samples, capture: Capture
) -> CapturedStep | None:
    """Return a `CapturedStep`; None if the step cannot be captured."""
    try:
        return CapturedStep(passes, optimizer, batch, capture)
    except RuntimeError as error:
        log.info("step not captured", reason=str(error))
        return None
