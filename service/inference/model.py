"""A trained model, loaded from a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.datasets.prepare.encoding import Encoding
from service.errors import CheckpointNotFound
from service.specs.architecture import ArchitectureSpec, read_architecture
from service.specs.training import TrainingSpec
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.losses import LOSSES, Loss


@dataclass(frozen=True)
class TrainedModel:
    """A model with one epoch's parameters, and what its outputs mean.

    Attributes:
        architecture: what the module was built from.
        module: in eval mode, on the CPU.
        gradients: of the last step before these parameters, by name.
        encoding: from raw data to inputs, from outputs to the targets' units.
        training: what it was trained with.
        precision: `float32` or `bfloat16`, that of the training.
    """

    architecture: ArchitectureSpec
    module: nn.Module
    epoch: int
    gradients: Mapping[str, Tensor]
    encoding: Encoding
    training: TrainingSpec
    precision: str

    @property
    def loss(self) -> Loss:
        """What the loss says about the outputs."""
        return LOSSES[self.training.loss.type]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, request: Mapping[str, Any], best: bool) -> Self:
        """The model of a checkpoint.

        Args:
            request: the job's request, all filled in.
            best: the best epoch's parameters instead of the last's.

        Raises:
            CheckpointNotFound: when the best epoch is asked for and none was followed.
        """
        chosen = checkpoint.best if best else checkpoint.last
        if chosen is None:
            raise CheckpointNotFound("No best epoch is followed without validation rows: ask for `last`.")
        architecture = read_architecture(request["architecture"])
        return cls(
            architecture=architecture,
            module=_load(architecture, chosen),
            epoch=chosen.epoch,
            gradients=chosen.gradients,
            encoding=Encoding.from_document(checkpoint.encoding),
            training=TrainingSpec.model_validate(request["training"]),
            precision=request["precision"],
        )


def _load(architecture: ArchitectureSpec, snapshot: Snapshot) -> nn.Module:
    with torch.device("meta"):
        module = build(architecture)
    module.load_state_dict(snapshot.state, assign=True)
    return module.eval()
