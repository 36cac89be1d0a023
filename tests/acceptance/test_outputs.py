"""Models that return `[B]`, or several outputs, equal a plain PyTorch script and answer by name."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from tests.support.script import Script, split_data, threads
from tests.support.server import Service

X = torch.linspace(-1, 1, 40)[:, None]
Y = (X.square() + 0.5 * X).squeeze(1)  # [40]
SUBMODULES = {
    "h": {"type": "Linear", "out_features": 4},
    "a": {"type": "Linear", "out_features": 1},
    "b": {"type": "Linear", "in_features": 4, "out_features": 2},
}


class Net(nn.Module):
    """The modules of `SUBMODULES`; returns [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.h, self.a, self.b = nn.Linear(1, 4), nn.Linear(4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1] -> [B]."""
        return self.a(torch.relu(self.h(x))).squeeze(1)


FLAT = "h = torch.relu(self.h(x))\nreturn self.a(h).squeeze(1)"
TWO = "h = torch.relu(self.h(x))\nreturn self.a(h).squeeze(1), self.b(h)"
PAIR = "self.a(h).squeeze(1), self.b(h)"
FORMS = {
    "tensors": {"inputs": X.tolist(), "targets": Y.tolist()},
    "table": {"columns": {"x": X[:, 0].tolist(), "y": Y.tolist()}, "features": ["x"], "targets": ["y"]},
}


def job(form: str, forward: str, outputs: list[str] | None = None, **more: Any) -> dict[str, Any]:
    architecture = {"type": "module", "submodules": SUBMODULES, "forward": forward, "outputs": outputs}
    training = {
        "loss": "MSELoss",
        "optimizer": {"type": "SGD", "lr": 0.1},
        "epochs": 20,
        "batch_size": 8,
        "seed": 1,
        **more.pop("training", {}),
    }
    data = {**FORMS[form], "split": {"validation": 0.2, "seed": 0}}
    return {"data": data, "architecture": architecture, "training": training, **more}


def script() -> Script:
    sgd = lambda parameters: optim.SGD(parameters, lr=0.1)  # noqa: E731
    return Script(split_data(X, Y), Net, sgd, batch_size=8, epochs=20, seed=1)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_flat_outputs_equals_the_script(service: Service, form: str) -> None:
    """Outputs [B] meet targets [B]: a list of numbers, or the single target column of a table."""
    ended = service.succeeded(job(form, FLAT, engine="eager"))
    with threads(ended["used"]["threads"]):
        plain = script().run()
    parameters = service.parameters(ended["id"])
    assert service.history(ended["id"])["train_loss"] == plain.train_loss
    assert parameters["a.weight"]["values"] == plain.model.a.weight.tolist()  # type: ignore[union-attr,operator]
    rows = {"inputs": [[0.5], [1.0]]}
    expected = plain.model(torch.tensor(rows["inputs"])).tolist()
    assert service.predict(ended["id"], rows)["outputs"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_loss_takes_an_output_by_name(service: Service, engine: str) -> None:
    """Loss and metrics of an output equal those of the model that returns it alone; predictions have both."""
    training = {
        "loss": {"type": "MSELoss", "output": "level"},
        "metrics": ["r2_score", {"type": "mean_absolute_error", "output": "level"}],
        "epochs": 100 if engine == "compiled" else 20,
    }
    ended = service.succeeded(job("table", TWO, ["level", "extra"], training=training, engine=engine))
    history = service.history(ended["id"])
    plain = script().run()
    assert history["train_loss"][:20] == pytest.approx(plain.train_loss, rel=1e-5)
    assert history["validation_loss"][:20] == pytest.approx(plain.validation_loss, rel=1e-4)
    assert list(history["metrics"]) == ["r2_score", "mean_absolute_error_level"]
    asked = {"columns": {"x": [0.5, 1.0]}}
    answer = service.predict(ended["id"], asked)
    assert {name: torch.tensor(each).shape for name, each in answer["outputs"].items()} == {
        "level": (2,),
        "extra": (2, 2),
    }
    table = service.client.post(ended["links"]["predictions"], json=asked, headers={"Accept": "text/csv"})
    assert table.text.splitlines()[0] == "level,extra_0,extra_1"
    rows = {"columns": {"x": [0.5, 1.0], "y": [0.5, 1.5]}}
    evaluation = service.client.post(ended["links"]["evaluations"], json=rows).json()
    assert set(evaluation["metrics"]) == {"r2_score", "mean_absolute_error_level"}
    assert set(evaluation["worst"][0]["output"]) == {"level", "extra"}


def test_wrong_names_and_shapes_are_refused_together_with_remedies(service: Service) -> None:
    """A name that the model has no output of, and shapes that PyTorch would broadcast, are errors."""
    training = {"loss": {"type": "MSELoss", "output": "levle"}}
    refused = service.submit(job("table", TWO, ["level", "extra"], training=training)).json()
    assert refused["errors"] == [
        {
            "pointer": "#/training/loss/output",
            "detail": "The model has no output `levle`: did you mean `level`?",
        }
    ]
    refused = service.submit(job("table", f"{TWO[: -len(PAIR)]}self.b(h), self.a(h).squeeze(1)")).json()
    assert refused["errors"][0]["detail"].endswith(
        'Output `1` fits: name it, as in {"type": "MSELoss", "output": "1"}.'
    )
    column = {"data": {"inputs": X.tolist(), "targets": Y[:, None].tolist()}}
    refused = service.submit(job("tensors", FLAT) | column).json()
    assert "Let the model return [B, 1], for instance without `squeeze`" in refused["errors"][0]["detail"]


class Tagger(nn.Module):
    """A class for each token: int64 [B, 4] -> [B, 3, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.scores = nn.Embedding(5, 6), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores(self.embedding(tokens)).transpose(1, 2)


class Segments(nn.Module):
    """A class for each pixel: [B, 1, 4, 5] -> [B, 3, 4, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images).log_softmax(dim=1)


class Normal(nn.Module):
    """Mean and variance, each [B, 1], in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.scale = nn.Linear(1, 4), nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.tanh(self.hidden(x))
        return {"mean": self.mean(h), "var": self.scale(h).exp()}


class Scores(nn.Module):
    """Scores of three classes, [B, 2] -> [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x)


def draws(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(len(shape)))


def gaussian(outputs: Any, targets: Tensor) -> Tensor:
    return nn.GaussianNLLLoss(eps=1e-4)(outputs["mean"], targets, outputs["var"])


WEIGHTS = [1.0, 2.0, 0.5]
LABELS = draws(3, 10, 4)
LABELS[3, 1:] = -100
CASES: dict[str, tuple[type[nn.Module], Tensor, Tensor, Any, dict[str, Any]]] = {
    "tokens": (
        Tagger,
        draws(5, 10, 4),
        LABELS,
        nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=0.1),
        {"loss": {"type": "CrossEntropyLoss", "weight": WEIGHTS, "label_smoothing": 0.1}},
    ),
    "pixels": (
        Segments,
        torch.linspace(-1, 1, 200).reshape(10, 1, 4, 5),
        draws(3, 10, 4, 5),
        nn.NLLLoss(),
        {"loss": "NLLLoss"},
    ),
    "soft labels": (
        Scores,
        torch.linspace(-1, 1, 20).reshape(10, 2),
        torch.linspace(-2, 2, 30).sin().reshape(10, 3).softmax(dim=1),
        nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=0.1),
        {
            "loss": {"type": "CrossEntropyLoss", "label_smoothing": 0.1},
            "class_weights": {f"output_{n}": weight for n, weight in enumerate(WEIGHTS)},
        },
    ),
    "normal": (
        Normal,
        torch.linspace(-1, 1, 10)[:, None],
        torch.linspace(0, 2, 10)[:, None] ** 2,
        gaussian,
        {"loss": {"type": "GaussianNLLLoss", "output": "mean", "var": "var", "eps": 1e-4}},
    ),
}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("name", CASES)
def test_losses_of_positions_and_of_two_outputs_equal_the_script(
    service: Service, name: str, engine: str
) -> None:
    """Class weights, ignored labels and accuracy count positions; mean and variance are two outputs."""
    build, inputs, targets, loss_fn, training = CASES[name]
    data = {"inputs": inputs.tolist(), "targets": targets.tolist(), "split": {"validation": 0.2, "seed": 0}}
    if not inputs.is_floating_point():
        data["dtypes"] = {"tokens": "int64"}
    classifies = name != "normal"
    body = {
        "data": data,
        "architecture": {"type": "class", "source": inspect.getsource(build)},
        "training": {
            **training,
            "metrics": ["accuracy"] if classifies else ["r2_score"],
            "optimizer": {"type": "SGD", "lr": 0.1},
            "epochs": 20,
            "seed": 1,
        },
        "engine": engine,
    }
    ended = service.succeeded(body)
    sgd = lambda parameters: optim.SGD(parameters, lr=0.1)  # noqa: E731
    plain = Script(split_data(inputs, targets), build, sgd, loss_fn=loss_fn, epochs=20, seed=1).run()
    history = service.history(ended["id"])
    assert history["train_loss"] == pytest.approx(plain.train_loss, rel=1e-5)
    assert history["validation_loss"] == pytest.approx(plain.validation_loss, rel=1e-5)
    rows = {"inputs": inputs[:3].tolist()}
    answer = service.predict(ended["id"], rows)
    expected = plain.model.eval()(inputs[:3])
    if not classifies:
        var = torch.tensor(answer["outputs"]["var"])
        torch.testing.assert_close(var, expected["var"].detach(), rtol=1e-4, atol=1e-6)
        return
    chosen = expected.argmax(dim=1).tolist()
    assert answer["labels"] == ([f"output_{n}" for n in chosen] if name == "soft labels" else chosen)
    assert torch.tensor(answer["probabilities"]).shape == expected.shape
    evaluated = service.client.post(
        ended["links"]["evaluations"], json={**rows, "targets": targets[:3].tolist()}
    ).json()
    labels = targets[:3].argmax(dim=1) if targets.is_floating_point() else targets[:3]
    right, counted = expected.argmax(dim=1) == labels, labels >= 0
    assert evaluated["metrics"]["accuracy"] == pytest.approx(
        (right & counted).sum().item() / counted.sum().item()
    )
