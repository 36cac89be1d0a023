"""Trainings that start with given parameters equal the plain script that loads them."""

from copy import deepcopy

import pytest
import torch
from torch import nn, optim

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.engines.eager.engine import EagerEngine
from tests.support.outputs import one_output
from tests.support.toys import DROPPING, VALUES, assert_equals_script, dropping, script, training


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_training_with_given_parameters_equals_the_script(batch_size: int | None) -> None:
    """Parameters and buffers are loaded after the model is built; the seed determines dropout and orders."""
    torch.manual_seed(42)
    given = dropping()
    given.train()(torch.randn(8, 3))  # statistics of the batch norm
    state = deepcopy(given.state_dict())

    def loaded() -> nn.Module:
        model = dropping()
        model.load_state_dict(state)
        return model

    architecture = read_architecture({"type": "sequential", "layers": DROPPING})
    spec, device = training(batch_size=batch_size), torch.device("cpu")
    components = assemble(architecture, spec, VALUES.prepared(), one_output(2), device, "float32", state)
    by_hand = script(loaded, lambda parameters: optim.SGD(parameters, lr=0.05), batch_size=batch_size)
    assert_equals_script(EagerEngine(components), by_hand)
