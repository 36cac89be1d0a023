"""Protocols of engines, which execute the steps of a training."""

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

# Sizes of a group's program, each of which is compiled once; a group uses the smallest that has room for it.
GROUP_SIZES = (16, 32, 64)

T_co = TypeVar("T_co", covariant=True)


class Training(Protocol):
    """The state of one training.

    Attributes:
        components: The training's model, data, optimizer and the rest.
        epoch: Epochs completed.
        stop_reason: The reason why training has ended; None while it continues.
        compile_seconds: Seconds of preparation beyond building the model.
    """

    components: Components
    epoch: int
    stop_reason: StopReason | None
    compile_seconds: float

    def checkpoint(self) -> Checkpoint:
        """Return the current state, in the middle of an epoch too."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint as if training had not been interrupted.

        A checkpoint without optimizer state gives initial parameters only.
        """

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch; None before the first one or when no epoch is monitored."""

    def load_best(self) -> None:
        """Use the parameters of the best epoch for evaluation from now on."""

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """Compute loss and metrics of the model in eval mode, without gradients.

        Args:
            samples: Samples on any device.
            on_slice: Called after each slice of the samples; an exception that it raises ends the evaluation.
        """


class Stepper(Protocol[T_co]):
    """Advances a number of steps at a time: one training, or several side by side.

    A step is the smallest unit of an advance: an optimizer step, one slice of a validation, or a whole epoch.

    Attributes:
        steps_per_epoch: Steps of one epoch.
    """

    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """Epochs completed."""

    @property
    def stop_reason(self) -> StopReason | None:
        """The reason why training has ended; None while it continues."""

    @property
    def steps_left(self) -> int:
        """Steps to the end of the current epoch; `steps_per_epoch` between two epochs."""

    def advance(self, steps: int) -> T_co:
        """Take at least one step and at most `steps`; return the epochs that ended."""


class Group(Stepper[Sequence[HistoryChunk | None]], Protocol):
    """Executes several trainings side by side."""

    @property
    def members(self) -> Sequence[Training]:
        """The trainings, in the order of the chunks that `advance` returns."""

    def stop(self, index: int, reason: StopReason) -> None:
        """Stop training the member with this index."""


class Engine(Training, Stepper[HistoryChunk | None], Protocol):
    """Executes one training."""

    epoch: int
    stop_reason: StopReason | None


class CompiledEngineFactory(Protocol):
    """Makes compiled engines, which share a cache of programs."""

    def make(self, components: Components) -> Engine:
        """Make the engine of a training."""

    def make_group(self, components: Sequence[Components]) -> Group:
        """Make the group of trainings of equal program keys."""

    def warm_up(self) -> Iterator[None]:
        """Trace and compile a tiny model: the first program of a process takes seconds longer.

        Yields:
            Nothing; between two parts of the work.
        """


class CompiledSupport(Protocol):
    """Entry points of the compiled engine, whose packages are optional; see `engines.optional`."""

    def objections(self, candidate: Candidate) -> list[FieldError]:
        """Return the features of a training that the compiled engine does not support, without tracing."""

    def work_of(self, candidate: Candidate) -> Work:
        """Trace a step on one batch and count its work."""

    def trace_forward(self) -> None:
        """Trace the forward pass of a tiny model: PyTorch imports its tracer. Safe before a fork."""

    def trace_step(self) -> None:
        """Trace a step of a tiny model, backward pass included."""

    def engines(self, device: torch.device, threads: int, cache_dir: Path) -> CompiledEngineFactory:
        """Set up JAX in this process and return the factory of its engines.

        Args:
            device: The device of all trainings.
            threads: Number of threads of a program on a CPU.
            cache_dir: Folder that keeps compiled programs for other processes.
        """
