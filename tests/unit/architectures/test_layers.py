"""The table of layers is complete, and each layer is the class of torch.nn."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from fitserve.describe.layers import FAMILIES
from service.architectures.layers import LAYERS, NOT_OFFERED
from tests.support.architecture_samples import SAMPLES

CLASSES = {name for name, value in vars(nn).items() if inspect.isclass(value)}


def by_hand(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Construct a layer as a script does: tuples for lists, modules for nested layers."""
    written = {}
    for key, value in arguments.items():
        if isinstance(value, dict):
            parts = {part: value[part] for part in value if part != "type"}
            written[key] = by_hand(value["type"], parts)
        else:
            written[key] = tuple(value) if isinstance(value, list) else value
    module: nn.Module = getattr(nn, name)(**written)
    return module


def test_every_class_of_torch_nn_is_offered_or_has_a_reason_not_to_be() -> None:
    """Each class of torch.nn, also of a new version of PyTorch, is in exactly one of the two tables."""
    assert CLASSES - set(LAYERS) - set(NOT_OFFERED) == set()
    assert set(LAYERS) & set(NOT_OFFERED) == set()


def test_every_layer_belongs_to_one_family() -> None:
    """No layer appears in two families."""
    names = [name for family in FAMILIES.values() for name in family]
    assert len(names) == len(set(names)) == len(LAYERS)


def test_every_layer_has_a_sample() -> None:
    """The samples of the following tests cover the table."""
    assert set(SAMPLES) == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_one_a_script_constructs(name: str) -> None:
    """With the same seed, a layer has the print, the state and the outputs of the script's."""
    sample = SAMPLES[name]
    torch.manual_seed(7)
    expected = by_hand(name, dict(sample.arguments))
    torch.manual_seed(7)
    layer = LAYERS[name](arguments=sample.arguments)
    assert repr(layer) == repr(expected)
    assert list(layer.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(layer.state_dict(), expected.state_dict(), rtol=0, atol=0)
    if name.startswith("MaxUnpool"):
        return  # its second input is what a MaxPool returned
    inputs = sample.inputs()
    torch.manual_seed(8)
    wanted = expected(*inputs)
    torch.manual_seed(8)
    torch.testing.assert_close(layer(*inputs), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_defaults_filled_in_change_nothing(name: str) -> None:
    """Arguments with defaults filled in are valid, complete, and construct the same layer."""
    arguments = SAMPLES[name].arguments
    resolved = LAYERS[name].resolve(arguments)
    assert not LAYERS[name].check(resolved, "#")
    assert LAYERS[name].resolve(resolved) == resolved
    assert repr(LAYERS[name](arguments=resolved)) == repr(LAYERS[name](arguments=arguments))


def test_the_default_slope_of_leaky_relu_is_that_of_pytorch() -> None:
    """LeakyReLU without arguments multiplies negative values by 0.01."""
    assert LAYERS["LeakyReLU"].resolve({}) == {"negative_slope": 0.01, "inplace": False}
    assert LAYERS["LeakyReLU"](arguments={})(torch.tensor([-1.0])).item() == pytest.approx(-0.01)
