"""Layouts of the outputs of models in tests."""

from service.architectures.outputs import OUTPUT, OutputLayout
from service.specs.training import TrainingSpec
from service.training.output_roles import OutputRoles


def one_output(*shape: int) -> OutputLayout:
    """Return the layout of a model with one output [B, …]."""
    return OutputLayout({OUTPUT: shape})


def roles_of(training: TrainingSpec, width: int) -> OutputRoles:
    """Return the roles of the single output [B, width] of a model."""
    return OutputRoles.of(training, one_output(width))
