"""Parameters, buffers and gradients of a model as JSON and as a file."""

from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from service.errors import CheckpointNotFound, ParameterNotFound
from service.inference.exports import to_safetensors
from service.inference.model import TrainedModel
from service.inference.parameters import named_parameter, named_parameters
from tests.support.trained import Trained, linear, table, train

EVERYTHING = ("values", "gradients", "statistics")


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A net with names, a buffer, and a layer whose bias sorts before its weight."""
    layers: list[dict[str, Any]] = [
        {"name": "hidden", **linear(4)},
        {"name": "norm", "type": "BatchNorm1d", "num_features": 4},
        {"name": "output", **linear(1, 4)},
    ]
    return train(table({"t": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}), layers)


def test_parameters_come_in_the_modules_order(trained: Trained) -> None:
    """Names, shapes, values and gradients are those of `Module.named_parameters`; buffers are separate."""
    document = named_parameters(trained.model(), EVERYTHING)
    module = trained.trainer.components.model
    expected = list(module.named_parameters())
    assert [each["name"] for each in document["parameters"]] == [name for name, _ in expected]
    for each, (_, parameter) in zip(document["parameters"], expected, strict=True):
        assert parameter.grad is not None
        assert each["values"] == parameter.tolist()
        assert each["gradient"] == parameter.grad.tolist()
        assert each["shape"] == list(parameter.shape)
        assert (each["dtype"], each["size"]) == ("float32", parameter.numel())
        assert each["norm"] == pytest.approx(parameter.norm().item())
        assert each["mean"] == pytest.approx(parameter.mean().item(), abs=1e-7)
        assert each["std"] == pytest.approx(parameter.std(correction=0).item(), abs=1e-7)
        assert each["gradient_norm"] == pytest.approx(parameter.grad.norm().item())
    assert document["total"] == sum(parameter.numel() for _, parameter in expected)
    assert document["module"] == repr(module)
    assert document["epoch"] == 5
    buffers = {each["name"]: each for each in document["buffers"]}
    assert list(buffers) == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert buffers["norm.num_batches_tracked"]["values"] == 5
    assert buffers["norm.num_batches_tracked"]["dtype"] == "int64"
    assert buffers["norm.running_mean"]["gradient"] is None


@pytest.mark.parametrize(
    ("include", "keys"),
    [
        ([], set()),
        (["values"], {"values"}),
        (["gradients"], {"gradient"}),
        (["statistics"], {"norm", "mean", "std", "gradient_norm"}),
    ],
)
def test_only_included_fields_are_present(trained: Trained, include: list[str], keys: set[str]) -> None:
    """Values, gradients and statistics are present if they are included."""
    document = named_parameters(trained.model(), include)
    for each in document["parameters"] + document["buffers"]:
        assert each.keys() == {"name", "shape", "dtype", "size"} | keys


def test_one_parameter(trained: Trained) -> None:
    """One parameter or buffer is described with values, gradient and statistics."""
    whole = named_parameters(trained.model(), EVERYTHING)
    for each in whole["parameters"] + whole["buffers"]:
        assert named_parameter(trained.model(), each["name"]) == each


def test_an_unknown_parameter(trained: Trained) -> None:
    """A misspelt name is answered with a suggestion."""
    with pytest.raises(ParameterNotFound, match=r"did you mean `hidden\.weight`"):
        named_parameter(trained.model(), "hiden.weight")


def test_no_gradient_before_the_first_step() -> None:
    """The best epoch of a full batch may be the first, whose parameters no step has made."""
    data = table({"t": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}, split={"validation": 2})
    diverging = train(data, [linear(1)], optimizer={"type": "SGD", "lr": 1.0}, epochs=3)
    document = named_parameters(diverging.model(best=True), EVERYTHING)
    assert document["epoch"] == 1
    assert all(each["gradient"] is None and each["gradient_norm"] is None for each in document["parameters"])


def test_no_best_epoch_without_validation(trained: Trained) -> None:
    """Requesting the best epoch of a training without one is an error."""
    with pytest.raises(CheckpointNotFound):
        trained.model(best=True)


def test_the_file_loads_strictly(trained: Trained) -> None:
    """The file loads with `load_state_dict(strict=True)` into a plain module."""
    tensors = safetensors.torch.load(to_safetensors(trained.model()))
    fresh = nn.Sequential()
    fresh.add_module("hidden", nn.Linear(2, 4))
    fresh.add_module("norm", nn.BatchNorm1d(4))
    fresh.add_module("output", nn.Linear(4, 1))
    fresh.load_state_dict(tensors, strict=True)
    (inputs,) = trained.prepared.train.inputs
    with torch.no_grad():
        assert torch.equal(fresh.eval()(inputs), trained.outputs())


def test_tied_tensors_are_written_out(trained: Trained) -> None:
    """A parameter that is used twice is written twice, so that the file loads strictly."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    tied: TrainedModel = replace(trained.model(), module=module)
    tensors = safetensors.torch.load(to_safetensors(tied))
    assert torch.equal(tensors["0.weight"], tensors["1.weight"])
    nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).load_state_dict(tensors, strict=True)
    assert [each["name"] for each in named_parameters(tied, [])["parameters"]] == [
        "0.weight",
        "0.bias",
        "1.bias",
    ]
