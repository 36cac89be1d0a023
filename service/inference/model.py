"""Trained models, loaded from checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from service.architectures.build import build_to_load
from service.architectures.outputs import OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.target_rules import MEASURABLE, TargetRules
from service.errors import CheckpointNotFound
from service.specs.architecture import ArchitectureSpec, read_architecture
from service.specs.training import TrainingSpec
from service.specs.transforms import Label
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.construction_seed import construction_seed
from service.training.labels import soft_classes
from service.training.losses import Conventions, Loss, loss_of
from service.training.metrics import tasks_of
from service.training.monitor import monitored_value
from service.training.output_roles import OutputRoles


@dataclass(frozen=True)
class TrainedModel:
    """A model with the parameters of one epoch.

    Attributes:
        architecture: The spec of the module.
        module: The module, in eval mode, on the CPU.
        epoch: The epoch after which it has these parameters.
        gradients: The gradients of the last optimizer step before, by parameter name.
        encoding: From raw data to inputs, and from outputs to the units of the targets.
        training: The training section of the job.
        layout: The outputs of the module.
        precision: `float32` or `bfloat16`, as in the training.
        construction_seed: The seed for random values of classes that are not part of the state.
    """

    architecture: ArchitectureSpec
    module: nn.Module
    epoch: int
    gradients: Mapping[str, Tensor]
    encoding: Encoding
    training: TrainingSpec
    layout: OutputLayout
    precision: str
    construction_seed: int

    @property
    def loss(self) -> Loss:
        """The entry of the loss in the table of losses."""
        return loss_of(self.training.loss)

    @cached_property
    def roles(self) -> OutputRoles:
        """The outputs that loss and metrics take."""
        return OutputRoles.of(self.training, self.layout)

    @property
    def classes(self) -> tuple[Label, ...] | None:
        """The classes in the order of `probabilities`; None for a model without one label for each row."""
        if self.encoding.classes is None and self.roles.main.task == "multiclass":
            return soft_classes(self.encoding, self.roles.main.width)
        return self.encoding.classes

    @property
    def conventions(self) -> Conventions:
        """The rules of the loss for outputs and targets."""
        return self.loss.conventions_for(self.training.loss.arguments())

    @property
    def target_rules(self) -> TargetRules:
        """The rules for numeric targets: those of the loss, and of the metrics of a classification."""
        rules = self.loss.target_rules(self.training.loss.arguments())
        is_measured = self.training.metrics and "binary" in tasks_of(self.loss)
        return rules._replace(rules=(*rules.rules, MEASURABLE)) if is_measured else rules

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, request: Mapping[str, Any], report: Mapping[str, Any], best: bool
    ) -> Self:
        """Load the model of a checkpoint.

        Args:
            checkpoint: The checkpoint.
            request: The job's completed request.
            report: The job's report.
            best: Whether to load the parameters of the best epoch instead of the last.

        Raises:
            CheckpointNotFound: The best epoch is requested, and there is none.
        """
        chosen = checkpoint.best if best else checkpoint.last
        training = TrainingSpec.model_validate(request["training"])
        if chosen is None:
            reason = _without_best(checkpoint, training)
            raise CheckpointNotFound(f"There is no best epoch: {reason}; request `last`.")
        architecture = read_architecture(request["architecture"])
        return cls(
            architecture=architecture,
            module=_load(architecture, chosen, construction_seed(request, report)),
            epoch=chosen.epoch,
            gradients=chosen.gradients,
            encoding=Encoding.from_document(checkpoint.encoding),
            training=training,
            layout=OutputLayout.from_report(architecture, report),
            precision=request["precision"],
            construction_seed=construction_seed(request, report),
        )


def _without_best(checkpoint: Checkpoint, training: TrainingSpec) -> str:
    """Return why a checkpoint has no best epoch, as a clause."""
    if not checkpoint.monitor:
        return "without validation rows or `early_stopping`, no value determines it"
    if checkpoint.last.epoch == 0:
        return "no epoch is complete"
    value = monitored_value(training, validates=True)
    return f"the monitored `{value}` has had no value in any epoch"


def _load(architecture: ArchitectureSpec, snapshot: Snapshot, seed: int) -> nn.Module:
    # The text of a class may keep random values outside of its state: they are drawn as in the training.
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = build_to_load(architecture)
    # It may also refer to its parameters, which therefore keep their places and get values.
    on_meta = all(tensor.is_meta for tensor in module.state_dict().values())
    module.load_state_dict(snapshot.state, assign=on_meta)
    return module.eval()
