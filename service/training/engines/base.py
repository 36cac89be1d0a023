"""How a chunk of steps is executed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from service.datasets.samples import Samples
from service.errors import FieldError
from service.history import HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.components import Components
from service.training.engines.candidate import Candidate, Work
from service.training.evaluation import Evaluation

# Members that a group's program has room for: a few sizes, each of which is compiled once.
GROUP_SIZES = (16, 32, 64)

T_co = TypeVar("T_co", covariant=True)


class Training(Protocol):
    """One training, and how far it is.

    Attributes:
        components: what it is made of.
        epoch: epochs completed.
        stop_reason: set when there is nothing left to do.
        compile_seconds: what it took to get ready, beyond building the model.
    """

    components: Components
    epoch: int
    stop_reason: StopReason | None
    compile_seconds: float

    def checkpoint(self) -> Checkpoint:
        """The state now, also in the middle of an epoch."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint as if there had been no break; or begin with its parameters."""

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch, when one is followed."""

    def load_best(self) -> None:
        """Put the best epoch's parameters into the model."""

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """The loss and metrics of the model, in eval mode, without gradients.

        Args:
            on_slice: called after each slice of the samples; what it raises ends the evaluation.
        """


class Steps(Protocol[T_co]):
    """What advances a number of steps at a time: one training, or several together.

    A step is the least that it advances by: an optimizer step, a slice of a validation, or a whole epoch.

    Attributes:
        steps_per_epoch: steps of one epoch.
    """

    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """Epochs completed."""

    @property
    def stop_reason(self) -> StopReason | None:
        """Set when there is nothing left to do."""

    @property
    def steps_left(self) -> int:
        """Steps to the end of the epoch at hand; a whole epoch's between epochs."""

    def advance(self, steps: int) -> T_co:
        """Take steps, at least one and up to `steps`; the epochs that ended in them."""


class Group(Steps[Sequence[HistoryChunk | None]], Protocol):
    """Executes several trainings side by side."""

    @property
    def members(self) -> Sequence[Training]:
        """The trainings, in the order of the chunks that `advance` hands back."""

    def stop(self, place: int, reason: StopReason) -> None:
        """Let the member at a place train no further."""


class Engine(Training, Steps[HistoryChunk | None], Protocol):
    """Executes one training."""

    epoch: int
    stop_reason: StopReason | None


class CompiledEngines(Protocol):
    """Makes compiled engines, which share their programs."""

    def make(self, components: Components) -> Engine:
        """Make the engine of a training."""

    def make_group(self, components: Sequence[Components]) -> Group:
        """Make the group of trainings that share a program."""

    def warm_up(self) -> Iterator[None]:
        """Trace and compile a tiny model, piece by piece: the first of a process takes seconds more."""


class CompiledSupport(Protocol):
    """The compiled engine, whose library is optional (see `service.training.engines.optional`)."""

    def objections(self, candidate: Candidate) -> list[FieldError]:
        """Return the features of a training that the compiled engine doesn't have, without tracing."""

    def work_of(self, candidate: Candidate) -> Work:
        """Trace a step on one batch and count its work."""

    def trace_forward(self) -> None:
        """Trace the forward pass of a tiny model: PyTorch imports its tracer. Safe before a fork."""

    def trace_step(self) -> None:
        """Trace a step of a tiny model, backward pass included."""

    def engines(self, device: torch.device, threads: int, cache_dir: Path) -> CompiledEngines:
        """Set up JAX in this process and return what makes its engines.

        Args:
            device: The device of all trainings.
            threads: Number of threads of a program on a CPU.
            cache_dir: The folder that keeps compiled programs for other processes.
        """
