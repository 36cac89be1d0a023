"""Warnings about losses that are valid but probably not intended."""

from typing import Any

import pytest
import torch

from service.architectures.check.check import check
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.check import fit_warnings
from tests.support.parity import layer, linear, module, sequential


@pytest.mark.parametrize(
    ("loss", "last", "words"),
    [
        ("CrossEntropyLoss", layer("Softmax", dim=1), "applies log-softmax itself"),
        ("BCEWithLogitsLoss", layer("Sigmoid"), "applies the sigmoid itself"),
        ("NLLLoss", layer("Softmax", dim=1), "use `LogSoftmax` instead"),
        ("CrossEntropyLoss", layer("Identity"), None),
        ("NLLLoss", layer("LogSoftmax", dim=1), None),
        ("BCELoss", layer("Sigmoid"), None),
    ],
)
def test_an_activation_that_the_loss_repeats_is_warned_of(
    loss: str, last: dict[str, Any], words: str | None
) -> None:
    """The activation is found as a layer and as a function in `forward`."""
    spec = TrainingSpec.model_validate({"loss": loss, "optimizer": {"type": "SGD", "lr": 0.1}, "epochs": 1})
    function = {
        "Softmax": "softmax(h, dim=1)",
        "LogSoftmax": "log_softmax(h, dim=1)",
        "Sigmoid": "sigmoid(h)",
    }
    returned = f"torch.{function[last['type']]}" if last["type"] in function else "h"
    text = module("Net", f"h = self.out(input)\nreturn {returned}", {"out": linear(3)})
    for architecture in (sequential(linear(3), last), text):
        output = check(read_architecture(architecture), [torch.empty(9, 4)], 10**6).output
        warnings = [warning.detail for warning in fit_warnings(spec, output, (0, 1, 2))]
        assert len(warnings) == (words is not None)
        assert words is None or words in warnings[0]


def test_measurements_as_classes_are_warned_of() -> None:
    """Classes that are not all integers are accepted with a warning."""
    training = {"loss": "CrossEntropyLoss", "optimizer": {"type": "SGD", "lr": 0.1}, "epochs": 1}
    spec = TrainingSpec.model_validate(training)
    (warning,) = fit_warnings(spec, torch.empty(9, 3), (0.5, 1.0, 2.5))
    assert "3 distinct numbers (0.5, 1.0, 2.5, …)" in warning.detail
    assert "use a regression loss such as `MSELoss`." in warning.detail
    assert fit_warnings(spec, torch.empty(9, 3), (0, 1, 2)) == []
