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
    """The work of one step of a training on a whole batch, counted on its trace, forward and backward.

    Attributes:
        missing: Names of operators that cannot be compiled.
        operators: Number of operators that PyTorch dispatches.
        nodes: Number of operators in the compiled graph.
        products: Multiplications and additions of matrix products.
        convolution_calls: Number of convolutions.
        convolutions: Their multiplications and additions.
        patches: Elements of the shifted inputs of those that a program computes with them.
        unshifted: Multiplications and additions of the others.
        elements: Elements that other operators compute.
        functions: Elements of functions such as exp, which take longer.
        sines: Elements of sines, cosines and tangents.
        time_steps: Sequential time steps of recurrent layers.
        recurrent_products: Multiplications and additions of recurrent layers.
        gates: Functions such as tanh that the cells of recurrent layers compute.
        drawn: Random numbers that the model draws.
        drawn_bytes: Their size as inputs of a program.
        evaluates_alike: Whether a validation has the same results in one part or several: it neither draws
            random numbers nor writes into tensors of the model.
    """

    missing: tuple[str, ...] = ()
    operators: int = 0
    nodes: int = 0
    products: int = 0
    convolution_calls: int = 0
    convolutions: int = 0
    patches: int = 0
    unshifted: int = 0
    elements: int = 0
    functions: int = 0
    sines: int = 0
    time_steps: int = 0
    recurrent_products: int = 0
    gates: int = 0
    drawn: int = 0
    drawn_bytes: int = 0
    evaluates_alike: bool = True
