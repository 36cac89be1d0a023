"""The systems of `Using a neural network to fit your data` (Deep Learning with PyTorch), through the API."""

from collections import OrderedDict
from typing import Any

import httpx
import pytest
import torch
from torch import nn

from tests.support.fits import LINEAR, ORDERED, SEQUENTIAL, tensors, thermometer
from tests.support.script import Script, assert_equal, fit_thermometer, threads
from tests.support.server import Service
from tests.support.thermometer import T_C, T_U

# Each activation as JSON and as a PyTorch module.
ACTIVATIONS: list[tuple[dict[str, Any], nn.Module]] = [
    ({"type": "Hardtanh"}, nn.Hardtanh()),
    ({"type": "Hardtanh", "min_val": 0.0, "max_val": 10.0}, nn.Hardtanh(0.0, 10.0)),
    ({"type": "Sigmoid"}, nn.Sigmoid()),
    ({"type": "Tanh"}, nn.Tanh()),
    ({"type": "ReLU"}, nn.ReLU()),
    ({"type": "ReLU6"}, nn.ReLU6()),
    ({"type": "LeakyReLU"}, nn.LeakyReLU(0.01)),
    ({"type": "LeakyReLU", "negative_slope": 0.2}, nn.LeakyReLU(0.2)),
    ({"type": "ELU", "alpha": 0.5}, nn.ELU(0.5)),
    ({"type": "SELU"}, nn.SELU()),
    ({"type": "GELU"}, nn.GELU()),
    ({"type": "GELU", "approximate": "tanh"}, nn.GELU(approximate="tanh")),
    ({"type": "SiLU"}, nn.SiLU()),
    ({"type": "Softplus", "beta": 2.0}, nn.Softplus(beta=2.0)),
    ({"type": "Softsign"}, nn.Softsign()),
    ({"type": "Hardsigmoid"}, nn.Hardsigmoid()),
    ({"type": "Hardswish"}, nn.Hardswish()),
    ({"type": "Mish"}, nn.Mish()),
    ({"type": "Softshrink"}, nn.Softshrink()),
    ({"type": "Hardshrink", "lambd": 0.3}, nn.Hardshrink(0.3)),
    ({"type": "LogSigmoid"}, nn.LogSigmoid()),
    ({"type": "Threshold", "threshold": 0.1, "value": -1.0}, nn.Threshold(0.1, -1.0)),
]


def state_of(service: Service, job: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the trained parameters as a `state_dict`."""
    return {name: torch.tensor(each["values"]) for name, each in service.parameters(job["id"]).items()}


def test_row_1_one_neuron_with_a_scalar_input(service: Service) -> None:
    """A neuron tanh(w·x + b) with a scalar input trains and predicts with its own w and b."""
    layers = [{"type": "Linear", "in_features": 1, "out_features": 1}, {"type": "Tanh"}]
    job = service.succeeded(tensors([[0.5], [-1.0], [2.0]], [[0.4], [-0.7], [0.9]], layers))
    parameters = service.parameters(job["id"])
    (((w,),), (b,)) = (parameters[name]["values"] for name in ("0.weight", "0.bias"))
    expected = torch.tanh(torch.tensor([[0.1], [2.5]]) * w + b)
    outputs = service.predict(job["id"], {"inputs": [[0.1], [2.5]]})["outputs"]
    torch.testing.assert_close(torch.tensor(outputs), expected)


def test_row_1_one_neuron_with_a_vector_input(service: Service) -> None:
    """A neuron tanh(w·x + b) with a vector input has one weight for each component."""
    layers = [{"type": "Linear", "in_features": 3, "out_features": 1}, {"type": "Tanh"}]
    job = service.succeeded(tensors([[1, 2, 3], [0, -1, 1]], [[0.5], [-0.5]], layers))
    state = state_of(service, job)
    assert state["0.weight"].shape == (1, 3)
    expected = torch.tanh(torch.tensor([[1.0, 0.0, -1.0]]) @ state["0.weight"].T + state["0.bias"])
    outputs = service.predict(job["id"], {"inputs": [[1, 0, -1]]})["outputs"]
    torch.testing.assert_close(torch.tensor(outputs), expected)


def test_row_1_columns_as_a_vector_input(service: Service) -> None:
    """Several feature columns form one vector input in the order of `features`."""
    body = thermometer([{"type": "Linear", "in_features": 2, "out_features": 1}], epochs=5)
    body["data"]["columns"]["squared"] = [u * u / 1000 for u in T_U]
    body["data"]["features"] = ["squared", "t_u"]
    job = service.succeeded(body)
    state = state_of(service, job)
    expected = torch.tensor([[2.0, 0.1 * 30.0]]) @ state["0.weight"].T + state["0.bias"]
    outputs = service.predict(job["id"], {"columns": {"t_u": [30.0], "squared": [2.0]}})["outputs"]
    torch.testing.assert_close(torch.tensor(outputs), expected)


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_row_2_networks_have_any_depth(service: Service, depth: int) -> None:
    """A network y = f(w_n · … f(w_0·x + b_0)) trains with any number of layers."""
    layers = [{"type": "Linear", "in_features": 1, "out_features": 4}, {"type": "Tanh"}]
    layers += [{"type": "Linear", "in_features": 4, "out_features": 4}, {"type": "Tanh"}] * (depth - 1)
    job = service.succeeded(thermometer([*layers, {"type": "Linear", "out_features": 1}], epochs=3))
    assert len(service.parameters(job["id"])) == 2 * (depth + 1)


def test_row_2_containers_nest_to_any_depth(service: Service) -> None:
    """Architectures nest in layers to any depth, with parameter names as in PyTorch."""
    inner: dict[str, Any] = {
        "type": "sequential",
        "layers": [{"type": "Linear", "out_features": 3}, {"type": "Tanh"}],
    }
    for _ in range(30):
        inner = {"type": "sequential", "name": "inner", "layers": [inner]}
    job = service.succeeded(thermometer([inner, {"type": "Linear", "out_features": 1}], epochs=3))
    path = ".".join(["inner"] * 30)
    assert list(service.parameters(job["id"])) == [
        f"{path}.0.0.weight",
        f"{path}.0.0.bias",
        "1.weight",
        "1.bias",
    ]


@pytest.mark.parametrize(("layer", "module"), ACTIVATIONS, ids=lambda value: str(value)[:40])
def test_row_3_activations_equal_those_of_pytorch(
    service: Service, layer: dict[str, Any], module: nn.Module
) -> None:
    """Each activation has the name, defaults, arguments, representation and values of PyTorch."""
    body = thermometer([*LINEAR, layer], epochs=1)
    job = service.succeeded(body)
    answer = service.read(f"/v1/jobs/{job['id']}/named_parameters")
    assert answer["module"] == repr(nn.Sequential(nn.Linear(1, 1), module))
    inputs = [[-30.0], [-2.2], [-0.05], [0.0], [0.1], [2.5], [40.0]]
    outputs = service.predict(job["id"], {"inputs": inputs})["outputs"]
    linear = nn.Linear(1, 1)
    linear.load_state_dict({n.removeprefix("0."): value for n, value in state_of(service, job).items()})
    expected = module(linear(0.1 * torch.tensor(inputs)))
    torch.testing.assert_close(torch.tensor(outputs), expected)


def test_row_3_jobs_show_default_arguments(service: Service) -> None:
    """The job shows the default slope 0.01 of a LeakyReLU without arguments."""
    job = service.succeeded(thermometer([*LINEAR, {"type": "LeakyReLU"}], epochs=1))
    shown = job["architecture"]["layers"][1]
    assert (shown["type"], shown["negative_slope"]) == ("LeakyReLU", 0.01)


def test_row_3_catalog_lists_the_layers_with_their_defaults(service: Service) -> None:
    """`GET /v1/catalog` describes the arguments and defaults of each layer as JSON Schema."""
    layers = service.read("/v1/catalog")["layers"]
    assert {layer["type"] for layer, _ in ACTIVATIONS} | {"Linear"} <= layers.keys()
    leaky = layers["LeakyReLU"]["arguments"]["properties"]["negative_slope"]
    assert leaky["default"] == 0.01


def test_row_4_batches_are_mapped_row_by_row(service: Service) -> None:
    """Training and predictions map a batch [B, Nin] to [B, Nout] for any B."""
    layers = [{"type": "Linear", "in_features": 3, "out_features": 2}]
    inputs = [[i, i / 2, -i] for i in range(10)]
    job = service.succeeded(tensors(inputs, [[i, -i] for i in range(10)], layers, epochs=2, batch_size=4))
    state = state_of(service, job)
    for rows in (1, 10, 5000):
        batch = (inputs * 500)[:rows]
        outputs = torch.tensor(service.predict(job["id"], {"inputs": batch})["outputs"])
        assert outputs.shape == (rows, 2)
        expected = torch.tensor(batch, dtype=torch.float32) @ state["0.weight"].T + state["0.bias"]
        torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize(
    ("inputs", "targets", "pointer"),
    [
        ([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]], "#/data/inputs"),
        ([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0], "#/training/loss"),
    ],
    ids=["inputs", "targets"],
)
def test_row_4_a_flat_list_of_samples_is_an_error_that_shows_the_fix(
    service: Service, inputs: list[Any], targets: list[Any], pointer: str
) -> None:
    """One-dimensional samples are refused with an error that shows the two-dimensional form."""
    response = service.submit(tensors(inputs, targets, LINEAR))
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert "[[" in error["detail"]


def test_row_4_flat_inputs_of_predictions_are_an_error(service: Service) -> None:
    """Predictions refuse one-dimensional inputs with an error that shows the two-dimensional form."""
    job = service.succeeded(thermometer(epochs=1))
    response = service.client.post(f"/v1/jobs/{job['id']}/predictions", json={"inputs": [35.7, 55.9]})
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = response.json()["errors"]
    assert error["pointer"] == "#/inputs"
    assert "[[35.7]" in error["detail"]


def test_row_4_outputs_and_targets_of_different_widths_are_an_error(service: Service) -> None:
    """A model with two outputs for one target is refused with both shapes."""
    response = service.submit(thermometer([{"type": "Linear", "in_features": 1, "out_features": 2}]))
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = response.json()["errors"]
    assert "[B, 2]" in error["detail"]
    assert "[B, 1]" in error["detail"]


@pytest.fixture(scope="module")
def linear_fit(service: Service) -> tuple[dict[str, Any], Script]:
    """Fit `nn.Linear(1, 1)` for 3000 epochs through HTTP and with a plain script."""
    job = service.succeeded(thermometer(epochs=3000))
    with threads(job["used"]["threads"]):
        return job, fit_thermometer(lambda: nn.Sequential(nn.Linear(1, 1)), 3000, 1e-2)


def test_row_5_every_selects_the_epochs_that_the_loop_prints(
    service: Service, linear_fit: tuple[dict[str, Any], Script]
) -> None:
    """`?every=1000` returns epoch 1 and every 1000th epoch, with the losses of the script."""
    job, script = linear_fit
    history = service.history(job["id"], every=1000)
    printed = [
        f"epoch {epoch}, training loss {train:.4f},validation loss {validation:.4f}"
        for epoch, train, validation in zip(
            history["epochs"], history["train_loss"], history["validation_loss"], strict=True
        )
    ]
    assert printed == [
        f"epoch {epoch}, training loss {script.train_loss[epoch - 1]:.4f},"
        f"validation loss {script.validation_loss[epoch - 1]:.4f}"
        for epoch in (1, 1000, 2000, 3000)
    ]


def test_row_6_linear_fit_equals_the_script(
    service: Service, linear_fit: tuple[dict[str, Any], Script]
) -> None:
    """`nn.Linear(1, 1)` with SGD and MSELoss has the history and parameters of the script."""
    job, script = linear_fit
    assert_equal(service, job, script)
    assert service.parameters(job["id"])["0.weight"]["values"][0][0] == pytest.approx(5.4, abs=1.0)


def test_row_7_sequential_reports_names_and_shapes(service: Service) -> None:
    """A sequential network reports the names and shapes of its four parameters."""
    job = service.succeeded(thermometer(SEQUENTIAL, epochs=1))
    parameters = service.parameters(job["id"])
    assert {name: each["shape"] for name, each in parameters.items()} == {
        "0.weight": [13, 1],
        "0.bias": [13],
        "2.weight": [1, 13],
        "2.bias": [1],
    }
    assert list(parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert job["parameter_count"] == 40


def test_row_8_named_layers_name_the_parameters(service: Service) -> None:
    """Named layers name the parameters, and a parameter is readable by its name."""
    job = service.succeeded(thermometer(ORDERED, epochs=10))
    answer = service.read(f"/v1/jobs/{job['id']}/named_parameters")
    assert [(each["name"], each["shape"]) for each in answer["parameters"]] == [
        ("hidden_linear.weight", [8, 1]),
        ("hidden_linear.bias", [8]),
        ("output_linear.weight", [1, 8]),
        ("output_linear.bias", [1]),
    ]
    assert answer["total"] == 25
    ordered = nn.Sequential(
        OrderedDict(hidden_linear=nn.Linear(1, 8), hidden_activation=nn.Tanh(), output_linear=nn.Linear(8, 1))
    )
    assert answer["module"] == repr(ordered)
    bias = service.read(f"/v1/jobs/{job['id']}/named_parameters/output_linear.bias")
    assert (bias["name"], bias["shape"], bias["dtype"], bias["size"]) == (
        "output_linear.bias",
        [1],
        "float32",
        1,
    )
    assert bias["values"] == service.parameters(job["id"])["output_linear.bias"]["values"]


def test_row_11_gradients_are_readable(service: Service) -> None:
    """Parameters have the last gradients of the script and the norms of these."""
    job = service.succeeded(thermometer(ORDERED, epochs=20, optimizer={"type": "SGD", "lr": 1e-3}))
    with threads(job["used"]["threads"]):
        script = fit_thermometer(lambda: nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)), 20, 1e-3)
    gradients = [parameter.grad for parameter in script.model.parameters()]
    read = service.parameters(job["id"]).values()
    assert [each["gradient"] for each in read] == [gradient.tolist() for gradient in gradients]
    norms = [gradient.double().norm().item() for gradient in gradients]
    assert [each["gradient_norm"] for each in read] == pytest.approx(norms)


def test_row_12_the_thermometer_is_split_and_scaled_like_the_script(
    service: Service, linear_fit: tuple[dict[str, Any], Script]
) -> None:
    """The last int(0.2·n) rows of a `randperm` validate, and predictions scale t_u by 0.1 to predict t_c."""
    job, _ = linear_fit
    preflight = service.submit(thermometer(), validate_only=True).json()
    assert preflight["rows"] == {"train": 9, "validation": 2, "test": 0, "dropped": 0}
    predicted = torch.tensor(service.predict(job["id"], {"columns": {"t_u": T_U}})["outputs"])
    validation = torch.randperm(11, generator=torch.Generator().manual_seed(0))[-2:]
    loss = nn.MSELoss()(predicted[validation], torch.tensor(T_C).unsqueeze(1)[validation]).item()
    assert loss == pytest.approx(service.history(job["id"])["validation_loss"][-1], rel=0.01)
    assert (predicted.squeeze(1) - torch.tensor(T_C)).abs().mean() < 3.0
