"""Training components: model, loss, optimizer and data of one training, built and on its device."""

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
from service.training.expression_loss import data_names
from service.training.losses import Loss
from service.training.monitor import Monitor
from service.training.output_roles import OutputRoles
from service.training.target_units import TargetUnits
from service.training.weighted_loss import WeightedLoss


@dataclass
class Components:
    """The parts of one training, built and on its device.

    Attributes:
        spec: The training section.
        architecture: The architecture section.
        model: The model, with initial parameters.
        loss: Entry of the loss in the table of losses.
        loss_fn: Module that computes the loss of `OutputRoles.predicted` and `Samples.loss_arguments`, with
            class weights.
        optimizer: The optimizer of all parameters of the model.
        scheduler: The learning rate scheduler; None for a constant learning rate.
        train: Training samples, on the device or with an `order` by which batches are gathered.
        validation: Validation samples, likewise; None without validation.
        metrics: Metrics by short name.
        roles: The outputs of the model that loss and metrics take.
        monitor: Finds the best epoch; None if no value determines it.
        units: The values of loss and metrics in the units of the targets; None if these are not transformed.
            The computed ones are among `metrics`.
        precision: `float32` or `bfloat16` (forward pass and loss under autocast).
        device: The device of the model.
        rng: State of the CPU's global generator after everything was built; the order of the first epoch is
            drawn from it.
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
    roles: OutputRoles
    monitor: Monitor | None
    units: TargetUnits | None = None
    precision: str = "float32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rng: Tensor = field(default_factory=torch.get_rng_state)

    @property
    def batches(self) -> Batches:
        """Division of the training samples into batches."""
        return Batches.of(self.spec, self.train.rows)

    @cached_property
    def program_key(self) -> ProgramKey:
        """Key of the compiled program that can execute this training."""
        return ProgramKey.of(
            self.architecture,
            self.spec,
            self.roles,
            self.train,
            self.validation,
            self.precision,
            self.masks_targets,
            units=self.units,
            names=data_names(self.loss_fn),
        )

    @property
    def masks_targets(self) -> bool:
        """Whether loss and metrics leave out missing targets."""
        return isinstance(self.loss_fn, WeightedLoss) and self.loss_fn.masks
