"""Built modules equal those of a hand-written script in names, print, values and outputs."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.specs.architecture import read_architecture


def linear(inputs: int, outputs: int, **more: Any) -> dict[str, Any]:
    return {"type": "Linear", "in_features": inputs, "out_features": outputs, **more}


def sequential(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "sequential", "layers": list(layers), **more}


def built(*layers: dict[str, Any]) -> nn.Module:
    return build(read_architecture(sequential(*layers)))


class FirstOfTuple(nn.Module):
    """A hand-written module that passes on the output of an LSTM without its state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.output = nn.Linear(5, 1)

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.output(self.lstm(input)[0])
        return result


PAIRS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module], tuple[int, ...]]] = {
    "the linear model": (sequential(linear(1, 1)), lambda: nn.Sequential(nn.Linear(1, 1)), (11, 1)),
    "the sequential model": (
        sequential(linear(1, 13), {"type": "Tanh"}, linear(13, 1)),
        lambda: nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1)),
        (11, 1),
    ),
    "the named model": (
        sequential(
            linear(1, 8, name="hidden_linear"),
            {"type": "Tanh", "name": "hidden_activation"},
            linear(8, 1, name="output_linear"),
        ),
        lambda: nn.Sequential(
            OrderedDict(
                [
                    ("hidden_linear", nn.Linear(1, 8)),
                    ("hidden_activation", nn.Tanh()),
                    ("output_linear", nn.Linear(8, 1)),
                ]
            )
        ),
        (11, 1),
    ),
    "a nested model": (
        sequential(sequential(linear(2, 3), {"type": "ReLU"}, name="body"), linear(3, 1)),
        lambda: nn.Sequential(
            OrderedDict([("body", nn.Sequential(nn.Linear(2, 3), nn.ReLU())), ("1", nn.Linear(3, 1))])
        ),
        (11, 2),
    ),
    "a convolutional model": (
        sequential(
            {"type": "Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
            {"type": "BatchNorm2d", "num_features": 4},
            {"type": "LeakyReLU"},
            {"type": "MaxPool2d", "kernel_size": [2, 2]},
            {"type": "Dropout", "p": 0.25},
            {"type": "Flatten"},
            linear(36, 10),
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.LeakyReLU(),
            nn.MaxPool2d((2, 2)),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(36, 10),
        ),
        (5, 1, 8, 8),
    ),
    "a transformer": (
        sequential(
            {
                "type": "TransformerEncoder",
                "encoder_layer": {
                    "type": "TransformerEncoderLayer",
                    "d_model": 8,
                    "nhead": 2,
                    "dim_feedforward": 16,
                    "batch_first": True,
                },
                "num_layers": 2,
            },
            {"type": "Flatten"},
            linear(40, 1),
        ),
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
            nn.Flatten(),
            nn.Linear(40, 1),
        ),
        (3, 5, 8),
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_module_equals_the_hand_written_one(case: str) -> None:
    """A built module has the class, print, names, state, initial values and outputs of the script's."""
    spec, script, shape = PAIRS[case]
    torch.manual_seed(0)
    expected = script()
    torch.manual_seed(0)
    module = build(read_architecture(spec))
    assert type(module) is nn.Sequential
    assert repr(module) == repr(expected)
    assert [name for name, _ in module.named_parameters()] == [
        name for name, _ in expected.named_parameters()
    ]
    assert list(module.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(module.state_dict(), expected.state_dict(), rtol=0, atol=0)
    inputs = torch.randn(shape)
    torch.manual_seed(1)
    wanted = expected(inputs)
    torch.manual_seed(1)
    torch.testing.assert_close(module(inputs), wanted, rtol=0, atol=0)


def test_parameters_of_a_sequential_are_named_by_position() -> None:
    """A linear, a tanh and a linear layer have the parameters 0.weight, 0.bias, 2.weight and 2.bias."""
    module = built(linear(1, 13), {"type": "Tanh"}, linear(13, 1))
    shapes = {name: list(parameter.shape) for name, parameter in module.named_parameters()}
    assert shapes == {"0.weight": [13, 1], "0.bias": [13], "2.weight": [1, 13], "2.bias": [1]}


def test_a_sequential_passes_on_the_first_element_of_a_tuple() -> None:
    """A model with an LSTM computes the outputs of the hand-written one, and prints as nn.Sequential."""
    layers = (
        {"type": "LSTM", "name": "lstm", "input_size": 3, "hidden_size": 5, "batch_first": True},
        linear(5, 1, name="output"),
    )
    torch.manual_seed(0)
    expected = FirstOfTuple()
    torch.manual_seed(0)
    module = built(*layers)
    plain = nn.Sequential(OrderedDict(expected.named_children()))
    assert repr(module) == repr(plain)
    assert list(module.state_dict()) == list(plain.state_dict())
    inputs = torch.randn(4, 7, 3)
    torch.testing.assert_close(module(inputs), expected(inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "LSTMCell", "input_size": 6, "hidden_size": 2},
        {"type": "MaxPool1d", "kernel_size": 2, "return_indices": True},
    ],
    ids=lambda layer: str(layer["type"]),
)
def test_a_sequential_may_end_with_a_layer_that_returns_a_tuple(layer: dict[str, Any]) -> None:
    """A cell or a pool with indices at the end of a sequential returns one tensor."""
    assert isinstance(built({"type": "Tanh"}, layer)(torch.randn(4, 6)), Tensor)
