"""Types that the choice of an engine is made from: the candidate training and the work of its steps."""

from dataclasses import dataclass

from torch import nn

from service.datasets.samples import Samples
from service.specs.training import TrainingSpec
from service.training.engines.program_key import ProgramKey
from service.training.output_roles import OutputRoles
from service.training.target_units import TargetUnits


@dataclass(frozen=True)
class Candidate:
    """A training before the choice of its engine.

    Attributes:
        key: The key of its compiled program.
        model: The model on the meta device.
        loss_fn: The module that computes the loss.
        spec: The training section.
        batch: One batch of samples on the meta device.
        roles: The outputs of the model that loss and metrics take.
        on_gpu: Whether it runs on a GPU.
        calls: Calls of layers in a forward pass.
        data_bytes: Bytes of all inputs of the samples.
        units: The values of loss and metrics in the units of the targets; None if these are not transformed.
    """

    key: ProgramKey
    model: nn.Module
    loss_fn: nn.Module
    spec: TrainingSpec
    batch: Samples
    roles: OutputRoles
    on_gpu: bool
    calls: int
    data_bytes: int
    units: TargetUnits | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.spec.epochs * self.key.batches.steps_per_epoch


@dataclass(frozen=True)
class Work:
    """The work of one step of a training, counted on its trace.

    Attributes:
        missing: Names of operators that cannot be compiled.
        operators: Number of operators that PyTorch dispatches in a forward and backward pass.
        nodes: Number of operators in the compiled graph.
        operations: Multiplications and additions of its matrix products and convolutions.
        drawn: Random numbers that the model draws.
        drawn_bytes: Their size as inputs of a program.
        evaluates_alike: Whether a validation has the same results in one part or several: it neither draws
            random numbers nor writes into tensors of the model.
        time_steps: Sequential time steps of recurrent layers, each computed forward and backward.
    """

    missing: tuple[str, ...]
    operators: int
    nodes: int
    operations: int
    drawn: int = 0
    drawn_bytes: int = 0
    evaluates_alike: bool = True
    time_steps: int = 0
