"""Models that return `[B]`, or several outputs, equal a plain PyTorch script and answer by name."""

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
    column = {"data": {"inputs": X.tolist(), "targets": Y[:, None].tolist()}}
    refused = service.submit(job("tensors", FLAT) | column).json()
    assert "Let the model return [B, 1], for instance without `squeeze`" in refused["errors"][0]["detail"]
