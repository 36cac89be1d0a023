"""Training components: everything that a training is made of, built and on its device."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from service.datasets.samples import Samples
from service.specs.architecture import ArchitectureSpec
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.engines.program_key import ProgramKey
from service.training.losses import Loss
from service.training.metrics import Task
from service.training.monitor import Monitor


@dataclass
class Components:
    """What a training is made of, built and on its device.

    Attributes:
        loss_fn: the module that computes the loss.
        train, validation: samples on the model's device, or still to be gathered.
        metrics: by name.
        monitor: follows the best epoch; None when nothing is to be followed.
        precision: `float32` or `bfloat16` (forward and loss under autocast).
        rng: the state of the CPU's global generator once all was built: the first order is drawn from it.
    """

    spec: TrainingSpec
    architecture: ArchitectureSpec
    model: nn.Module
    loss: Loss
    loss_fn: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    train: Samples
    validation: Samples | None
    metrics: dict[str, Metric]
    task: Task
    monitor: Monitor | None
    precision: str = "float32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rng: Tensor = field(default_factory=torch.get_rng_state)

    @property
    def batches(self) -> Batches:
        """The division of the training samples into batches."""
        return Batches.of(self.spec, self.train.rows)

    @cached_property
    def program_key(self) -> ProgramKey:
        """The key of the compiled program that executes this training."""
        return ProgramKey.of(
            self.architecture, self.spec, self.task, self.train, self.validation, self.precision
        )
