"""A training whose engine is to be chosen, and the work of one of its steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from torch import Tensor, nn

from service.specs.training import TrainingSpec
from service.training.metrics import Task


@dataclass(frozen=True)
class Candidate:
    """A training that gets an engine.

    Attributes:
        architecture: the spec as JSON, complete.
        model: on the meta device.
        loss_fn: the module that computes the loss.
        inputs, targets: one batch on the meta device.
        rows: training samples.
        task: what its metrics measure.
        precision: `float32` or `bfloat16`.
        on_gpu: whether it runs on a GPU.
        calls: calls of layers in a forward pass, each step of a recurrence counted.
        data_bytes: of all inputs.
    """

    architecture: dict[str, Any]
    model: nn.Module
    loss_fn: nn.Module
    spec: TrainingSpec
    inputs: Sequence[Tensor]
    targets: Tensor
    rows: int
    task: Task
    precision: str
    on_gpu: bool
    calls: int
    data_bytes: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.spec.epochs * math.ceil(self.rows / len(self.targets))

    @property
    def has_short_batch(self) -> bool:
        """Whether an epoch's last batch is shorter than the others."""
        return self.rows % len(self.targets) != 0

    def kind(self) -> bytes:
        """Equal for trainings whose steps are the same work."""
        shapes = [[list(x.shape), str(x.dtype)] for x in (*self.inputs, self.targets)]
        loss = self.spec.loss.model_dump(mode="json")
        return orjson.dumps([self.architecture, loss, self.spec.class_weights is not None, shapes])


@dataclass(frozen=True)
class Work:
    """What one step of a training is, measured on its trace.

    Attributes:
        missing: operators that can't be compiled.
        operators: what PyTorch dispatches in a forward and backward pass.
        nodes: operators of the graph that is compiled.
        operations: multiplications and additions of its products and convolutions.
    """

    missing: tuple[str, ...]
    operators: int
    nodes: int
    operations: int
