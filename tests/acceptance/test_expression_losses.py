"""Losses that are sent as a text equal the same loss in a plain PyTorch script."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from tests.support.script import threads
from tests.support.server import Service

X = torch.linspace(-1, 1, 24)[:, None]
Y = X.square() + 0.5 * X  # [24, 1]
WEIGHTS = torch.linspace(0.5, 2, 24)
Loss = Callable[[Any, Tensor, Tensor], Tensor]

NET = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(1, 8)
        self.out = nn.Linear(8, OUTPUTS)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))
"""
AUTOENCODER = """class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(1, 8)
        self.mean = nn.Linear(8, 2)
        self.log_var = nn.Linear(8, 2)
        self.decoder = nn.Linear(2, 1)

    def forward(self, x):
        h = torch.relu(self.encoder(x))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.decoder(z), mean, log_var
"""


def module(source: str) -> nn.Module:
    """Run the text of a class as Python, and construct it."""
    names: dict[str, Any] = {"nn": nn, "torch": torch}
    exec(source, names)
    built: nn.Module = names[source.split("(", maxsplit=1)[0].removeprefix("class ")]()
    return built


def net(outputs: int) -> str:
    """Return the text of a net with some outputs."""
    return NET.replace("OUTPUTS", str(outputs))


def elbo(result: Any, x: Tensor, y: Tensor) -> Tensor:
    """Evidence lower bound of an autoencoder."""
    output, mean, log_var = result
    kl = -0.5 * torch.mean(1 + log_var - mean.pow(2) - log_var.exp())
    return functional.mse_loss(output, y) + 0.1 * kl


def weighted(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Weighted mean of squares, weights by the order of the rows."""
    weight = WEIGHTS[: len(x)] if len(x) == 20 else WEIGHTS[20:]
    return (weight * (output - y).squeeze(1) ** 2).sum() / weight.sum()


def quantiles(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The pinball loss of three quantiles."""
    error = y - output
    q = torch.tensor([0.1, 0.5, 0.9])
    return torch.max(q * error, (q - 1) * error).mean(dim=1).mean()


def equation(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The residual of u'' + u = 0, and the distance to the targets."""
    u_x = torch.autograd.grad(output.sum(), x, create_graph=True)[0]
    u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0]
    return ((u_xx + output) ** 2).mean() + functional.mse_loss(output, y)


def relative(output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Squared errors relative to the size of the input."""
    return (((output - y) / (1 + x.abs())) ** 2).squeeze(1).mean()


CASES: dict[str, tuple[str, str, Loss]] = {
    "elbo": (
        AUTOENCODER,
        "kl = -0.5 * torch.mean(1 + log_var - mean.pow(2) - log_var.exp())\n"
        "return F.mse_loss(recon, target) + 0.1 * kl",
        elbo,
    ),
    "weight": (
        net(1),
        "return (weight * (output - target).squeeze(1) ** 2).sum() / weight.sum()",
        weighted,
    ),
    "data.weights": (net(1), "return (output - target).squeeze(1) ** 2", weighted),
    "quantiles": (
        net(3),
        "error = target - output\nq = torch.tensor([0.1, 0.5, 0.9])\n"
        "return torch.max(q * error, (q - 1) * error).mean(dim=1)",
        quantiles,
    ),
    "equation": (
        net(1),
        "u_x = torch.autograd.grad(output.sum(), input, create_graph=True)[0]\n"
        "u_xx = torch.autograd.grad(u_x.sum(), input, create_graph=True)[0]\n"
        "return ((u_xx + output) ** 2).mean() + F.mse_loss(output, target)",
        equation,
    ),
    "input": (
        net(1),
        "return (((output - target) / (1 + input.abs())) ** 2).squeeze(1)",
        relative,
    ),
}


def request(source: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a job of the rows above, in their order."""
    data: dict[str, Any] = {"inputs": X.tolist(), "targets": Y.tolist()}
    return {
        "data": {**data, "split": {"validation": 1 / 6, "shuffle": False}, **more.pop("data", {})},
        "architecture": {"type": "class", "source": source, **more.pop("architecture", {})},
        "training": {
            "loss": {"type": "expression", "text": text},
            "optimizer": {"type": "Adam", "lr": 0.01},
            "epochs": 5,
            "batch_size": None,
            "seed": 3,
            **more.pop("training", {}),
        },
        "engine": "eager",
        **more,
    }


def script(source: str, loss_fn: Loss, epochs: int = 5) -> tuple[list[float], list[float], nn.Module]:
    """Train in plain PyTorch on all rows at once; return losses of training and validation, and the model."""
    torch.manual_seed(3)
    model = module(source)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    train, validation = [], []
    for _ in range(epochs):
        x = X[:20].clone().requires_grad_()
        loss = loss_fn(model(x), x, Y[:20])
        train.append(loss.item())
        model.eval()
        held_out = X[20:].clone().requires_grad_()
        validation.append(loss_fn(model(held_out), held_out, Y[20:]).item())
        model.train()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return train, validation, model


@pytest.mark.parametrize("name", CASES)
def test_a_text_equals_the_script(service: Service, name: str) -> None:
    """Histories and parameters of the eager engine are those of the script, bit for bit."""
    source, text, loss_fn = CASES[name]
    extra: dict[str, Any] = {}
    if loss_fn is weighted:
        extra["data"] = {"weights": WEIGHTS.tolist()}
    if name == "elbo":
        extra["architecture"] = {"outputs": ["recon", "mean", "log_var"]}
    ended = service.succeeded(request(source, text, **extra))
    with threads(ended["used"]["threads"]):
        train, validation, model = script(source, loss_fn)
    history = service.history(ended["id"])
    assert history["train_loss"] == train
    assert history["validation_loss"] == validation
    parameters = service.parameters(ended["id"])
    assert {key: value["values"] for key, value in parameters.items()} == {
        key: value.tolist() for key, value in model.state_dict().items()
    }


@pytest.mark.parametrize("name", ["data.weights", "equation", "input"])
def test_both_engines_compute_the_same(service: Service, name: str) -> None:
    """The compiled engine traces the text, derivatives included; equal texts share its program."""
    source, text, loss_fn = CASES[name]
    extra: dict[str, Any] = {"engine": "compiled"}
    if loss_fn is weighted:
        extra["data"] = {"weights": WEIGHTS.tolist()}
    ended = service.succeeded(request(source, text, **extra))
    assert ended["used"]["engine"] == "compiled"
    train, validation, _ = script(source, loss_fn)
    history = service.history(ended["id"])
    assert history["train_loss"] == pytest.approx(train, rel=1e-4)
    assert history["validation_loss"] == pytest.approx(validation, rel=1e-4)


def test_programs_are_shared_by_jobs_of_the_same_names_only(service: Service) -> None:
    """The same text reads another column if the target columns are in another order."""
    columns = {"x": [0.0, 1.0, 2.0], "high": [9.0, 9.0, 9.0], "low": [0.0, 0.0, 0.0]}
    text = "return (output.squeeze(1) - high) ** 2"
    losses = []
    for targets in (["high", "low"], ["low", "high"]):
        body = request(net(1), text, engine="compiled")
        body["data"] = {"columns": columns, "features": ["x"], "targets": targets}
        losses.append(service.history(service.succeeded(body)["id"])["train_loss"])
    assert losses[0] == losses[1]


def test_a_single_input_has_the_name_of_the_model_too(service: Service) -> None:
    """`input`, the name in the data and the name of the parameter of `forward` are the same input."""
    text = "return (((output - target) / (1 + {}.abs())) ** 2).squeeze(1)"
    named = {"inputs": {"position": X.tolist()}}
    table = {"columns": {"p": X[:, 0].tolist(), "q": Y[:, 0].tolist()}, "features": ["p"], "targets": ["q"]}
    histories = []
    for name, data in (("input", {}), ("x", {}), ("position", named), ("x", named), ("x", table)):
        body = request(net(1), text.format(name), data=data)
        if data is table:
            body["data"] = {"split": body["data"]["split"], **table}
        histories.append(service.history(service.succeeded(body)["id"])["train_loss"])
    assert all(history == histories[0] for history in histories)


def test_texts_that_draw_and_make_tensors_are_compiled(service: Service) -> None:
    """Random numbers and tensors of numbers are the same in a program and in the eager engine."""
    for text in (
        "return F.mse_loss(output + torch.randn_like(output), target)",
        "return (torch.tensor([0.5, 2.0]) * output.mean()).mean()",
    ):
        compiled, eager = (
            service.history(service.succeeded(request(net(1), text, engine=engine))["id"])["train_loss"]
            for engine in ("compiled", "eager")
        )
        assert compiled == pytest.approx(eager, rel=1e-4)


def test_evaluations_differentiate_too(service: Service) -> None:
    """An evaluation has the loss of the training, and rows of the highest loss where each row has one."""
    source, text, loss_fn = CASES["equation"]
    ended = service.succeeded(request(source, text, training={"metrics": ["r2_score"]}))
    rows = {"inputs": X[20:].tolist(), "targets": Y[20:].tolist()}
    by_parameters = service.client.post(ended["links"]["evaluations"], json=rows).json()
    _, _, model = script(source, loss_fn)
    x = X[20:].clone().requires_grad_()
    assert by_parameters["loss"] == pytest.approx(loss_fn(model(x), x, Y[20:]).item(), rel=1e-5)
    assert by_parameters["worst"] == []
    assert list(by_parameters["metrics"]) == ["r2_score"]
    ended = service.succeeded(request(source, CASES["input"][1]))
    by_row = service.client.post(ended["links"]["evaluations"], json=rows).json()
    assert len(by_row["worst"]) == 4
    assert by_row["loss"] == pytest.approx(sum(each["loss"] for each in by_row["worst"]) / 4, rel=1e-5)


TABLE = {
    "data": {
        "columns": {"x": [0.0, 1.0, 2.0, 3.0], "kind": ["a", "b", "c", "b"]},
        "features": ["x"],
        "targets": ["kind"],
    },
    "training": {"optimizer": {"type": "SGD", "lr": 0.1}, "epochs": 20, "seed": 0},
}


def test_classes_are_numbers_in_the_text(service: Service) -> None:
    """With `"targets": "classes"`, labels are numbers of outputs, and predictions have labels."""
    text = (
        "log_p = F.log_softmax(output, dim=1)\n"
        "right = -log_p.gather(1, kind[:, None]).squeeze(1)\n"
        "return 0.9 * right - 0.1 * log_p.mean(dim=1)"
    )
    loss = {"type": "expression", "text": text, "targets": "classes"}
    training = {**TABLE["training"], "loss": loss, "metrics": ["accuracy"]}
    architecture = {"type": "class", "source": net(3)}
    ended = service.succeeded(
        {**TABLE, "architecture": architecture, "training": training, "engine": "eager"}
    )
    torch.manual_seed(0)
    model = module(net(3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x, y, losses = torch.arange(4.0)[:, None], torch.tensor([0, 1, 2, 1]), []
    for _ in range(20):
        loss_value = functional.cross_entropy(model(x), y, label_smoothing=0.1)
        losses.append(loss_value.item())
        optimizer.zero_grad()
        loss_value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert service.history(ended["id"])["train_loss"] == pytest.approx(losses, rel=1e-5)
    answer = service.predict(ended["id"], {"columns": {"x": [0.0, 3.0]}})
    assert set(answer["labels"]) <= {"a", "b", "c"}


NOT_A_LOSS = "It must return a scalar, or a value for each row, [B]"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("return outptu", ["Line 1, column 8: `outptu`: did you mean `output`?"]),
        (
            "a = nothing\nb = print(output)\nreturn a",
            [
                'this name is not defined; a loss reads `output`, `input`, `x`, `targets["first target"]`',
                "`print`: not supported; remove it",
            ],
        ),
        ("return output @ input", ["Line 1, column 8: `output @ input` got [B, 2] and [B, 1]:"]),
        ("return (output - target).mean(dim=0)", ["it returns [2]"]),
        ("return (output - target) ** 2", [f"{NOT_A_LOSS}, such as its mean over the other dimensions"]),
        ("return 1.0", [f"{NOT_A_LOSS}; it returns a value of type float."]),
        ("return F.mse_loss(input, input)", ["The loss has no gradient: it depends on no parameter"]),
        ("return torch.autograd.grad(output.sum(), target)[0].mean()", ["Line 1, column 8:"]),
        ("return output.mean(", ["Line 1"]),
    ],
)
def test_each_kind_of_error_has_its_place(service: Service, text: str, messages: list[str]) -> None:
    """What is wrong with a text is reported at it, all at once, before a job exists."""
    data = {"columns": {"z": [0.0, 1.0, 2.0], "x": [1.0, 2.0, 3.0], "first target": [1.0, 2.0, 4.0]}}
    body = request(net(2), text)
    body["data"] = {**data, "features": ["z"], "targets": ["x", "first target"]}
    answer = service.submit(body)
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    assert {error["pointer"] for error in errors} == {"#/training/loss/text"}
    assert len(errors) == len(messages)
    for error, message in zip(errors, messages, strict=True):
        assert message in error["detail"]


def test_weights_need_a_value_for_each_row_or_their_use(service: Service) -> None:
    """A scalar that doesn't read `weight` has no place for weights of rows."""
    body = request(net(1), "return F.mse_loss(output, target)", data={"weights": WEIGHTS.tolist()})
    errors = service.submit(body).json()["errors"]
    assert [error["pointer"] for error in errors] == ["#/data/weights"]
    assert "use `weight` in the text" in errors[0]["detail"]
