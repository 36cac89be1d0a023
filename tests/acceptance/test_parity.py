"""Jobs with `"engine": "eager"` equal a plain PyTorch script bit for bit."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import StepLR

from tests.support.fits import ORDERED, SEQUENTIAL, tensors, thermometer
from tests.support.script import assert_equal, fit_classifier, fit_thermometer, threads
from tests.support.server import Service


def sequential() -> nn.Module:
    """Build the network with 13 hidden units."""
    return nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1))


def ordered() -> nn.Module:
    """Build the network with 8 hidden units and named layers."""
    return nn.Sequential(
        OrderedDict(
            [
                ("hidden_linear", nn.Linear(1, 8)),
                ("hidden_activation", nn.Tanh()),
                ("output_linear", nn.Linear(8, 1)),
            ]
        )
    )


@pytest.mark.parametrize(
    ("layers", "build"),
    [
        (SEQUENTIAL, sequential),
        (ORDERED, ordered),
    ],
    ids=["sequential", "ordered"],
)
def test_thermometer_fits_equal_the_script(
    service: Service, layers: list[dict[str, object]], build: Callable[[], nn.Module]
) -> None:
    """History, parameters and gradients of a thermometer fit are the script's."""
    job = service.succeeded(thermometer(layers, epochs=3000, optimizer={"type": "SGD", "lr": 1e-3}))
    assert job["used"]["engine"] == "eager"
    with threads(job["used"]["threads"]):
        script = fit_thermometer(build, 3000, 1e-3)
    assert_equal(service, job, script)


def test_another_seed_equals_the_script(service: Service) -> None:
    """Another seed gives the same initial parameters as in the script."""
    job = service.succeeded(thermometer(ORDERED, epochs=7, seed=123))
    with threads(job["used"]["threads"]):
        script = fit_thermometer(ordered, 7, 1e-2, seed=123)
    assert_equal(service, job, script)


def test_clipped_and_scheduled_fit_equals_the_script(service: Service) -> None:
    """`gradient_clip_norm` and a scheduler change gradients and learning rate as in the script."""
    body = thermometer(
        SEQUENTIAL,
        epochs=200,
        gradient_clip_norm=0.5,
        scheduler={"type": "StepLR", "step_size": 50, "gamma": 0.5},
    )
    job = service.succeeded(body)
    with threads(job["used"]["threads"]):
        script = fit_thermometer(
            sequential, 200, 1e-2, clip=0.5, schedule=lambda optimizer: StepLR(optimizer, 50, 0.5)
        )
    assert_equal(service, job, script)


def test_digits_classifier_equals_the_script(service: Service) -> None:
    """A classifier of digits trained with Adam in batches equals the script, order of batches included."""
    digits = load_digits()
    inputs, targets = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target).long()
    layers = [
        {"type": "Linear", "in_features": 64, "out_features": 32},
        {"type": "ReLU"},
        {"type": "Linear", "in_features": 32, "out_features": 10},
    ]
    body = tensors(
        inputs.tolist(),
        targets.tolist(),
        layers,
        loss="CrossEntropyLoss",
        optimizer={"type": "Adam", "lr": 1e-3},
        epochs=5,
        batch_size=32,
        seed=7,
    )
    body["data"]["split"] = {"validation": 0.2, "seed": 0}
    job = service.succeeded(body)
    with threads(job["used"]["threads"]):
        script = fit_classifier(
            inputs,
            targets,
            lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
            n_epochs=5,
            batch_size=32,
            lr=1e-3,
            seed=7,
        )
    assert_equal(service, job, script)


def test_large_validation_equals_the_script(service: Service) -> None:
    """The validation loss of many rows equals the script's, which evaluates all rows at once."""
    inputs = torch.linspace(-1, 1, 10_000).unsqueeze(1).repeat(1, 2)
    targets = (inputs[:, 0] > 0.1).long()
    body = tensors(
        inputs.tolist(),
        targets.tolist(),
        [{"type": "Linear", "in_features": 2, "out_features": 2}],
        loss="CrossEntropyLoss",
        optimizer={"type": "Adam", "lr": 0.1},
        epochs=3,
        batch_size=1000,
        seed=2,
    )
    body["data"]["split"] = {"validation": 0.5, "seed": 0}
    job = service.succeeded(body)
    with threads(job["used"]["threads"]):
        script = fit_classifier(
            inputs,
            targets,
            lambda: nn.Sequential(nn.Linear(2, 2)),
            n_epochs=3,
            batch_size=1000,
            lr=0.1,
            seed=2,
            validation=0.5,
        )
    assert_equal(service, job, script)
