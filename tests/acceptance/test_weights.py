"""Weights of rows, missing targets, ids and dropped batches over HTTP."""

import gzip
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import nn, optim

from tests.support.script import threads
from tests.support.server import Service

ROWS, SEED = 40, 3
GENERATOR = torch.Generator().manual_seed(1)
X = torch.randn(ROWS, 2, generator=GENERATOR)
Y = X @ torch.tensor([[1.0, -1.0], [0.5, 2.0]]) + 0.1 * torch.randn(ROWS, 2, generator=GENERATOR)
W = torch.rand(ROWS, generator=GENERATOR) * 2
GAPS = torch.rand(ROWS, 2, generator=GENERATOR) < 0.3
SPLIT = {"shuffle": False, "validation": 8}


def columns(missing: bool) -> dict[str, list[Any]]:
    """Return the columns of a table; some targets are missing."""
    y = [
        [None if missing and gap else value for value, gap in zip(column, gaps, strict=True)]
        for column, gaps in zip(Y.T.tolist(), GAPS.T.tolist(), strict=True)
    ]
    table = {"a": X[:, 0].tolist(), "b": X[:, 1].tolist(), "y": y[0], "z": y[1], "w": W.tolist()}
    return {**table, "order": [f"{number:03}" for number in range(ROWS)]}


def job(missing: bool = False, engine: str = "eager", **training: Any) -> dict[str, Any]:
    """Return the request of a fit of two targets by weighted rows."""
    return {
        "data": {
            "columns": columns(missing),
            "features": ["a", "b"],
            "targets": ["y", "z"],
            "weights": "w",
            "id": ["order"],
            "split": SPLIT,
            **({"missing_targets": "mask"} if missing else {}),
        },
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "out_features": 5},
                {"type": "Tanh"},
                {"type": "Linear", "out_features": 2},
            ],
        },
        "training": {
            "loss": "MSELoss",
            "optimizer": {"type": "Adam", "lr": 0.02},
            "epochs": 12,
            "seed": SEED,
            "batch_size": 6,
            **training,
        },
        "engine": engine,
    }


def loop(missing: bool, drop_last: bool) -> tuple[nn.Module, list[float], list[float]]:
    """Train as a user would write it; return the model, and the losses of training and validation."""
    n = ROWS - 8
    targets = Y.masked_fill(GAPS, torch.nan) if missing else Y

    def batch_loss(
        outputs: torch.Tensor, y: torch.Tensor, w: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        losses = nn.functional.mse_loss(outputs, y.nan_to_num(), reduction="none")
        if not missing:
            return (w * losses.mean(dim=1)).sum() / w.sum(), w.sum()
        weights = ~y.isnan() * w[:, None]
        return (losses * weights).sum() / weights.sum(), weights.sum()

    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    history, validation = [], []
    for _ in range(12):
        total = weight = 0.0
        for batch in torch.randperm(n).split(6):
            if drop_last and len(batch) < 6:
                continue
            loss, batch_weight = batch_loss(model(X[batch]), targets[batch], W[batch])
            total += batch_weight.item() * loss.item()
            weight += batch_weight.item()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        history.append(total / weight)
        with torch.no_grad():
            validation.append(batch_loss(model(X[n:]), targets[n:], W[n:])[0].item())
    return model, history, validation


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_jobs_have_the_bits_of_a_loop(missing: bool, drop_last: bool, service: Service) -> None:
    """Losses and parameters equal those of a loop with `reduction="none"`, bit for bit."""
    found = service.succeeded(job(missing, drop_last=drop_last))
    with threads(found["used"]["threads"]):
        model, history, validation = loop(missing, drop_last)
    losses = service.history(found["id"])
    assert losses["train_loss"] == history
    assert losses["validation_loss"] == validation
    parameters = service.parameters(found["id"])
    assert {name: each["values"] for name, each in parameters.items()} == {
        name: parameter.tolist() for name, parameter in model.named_parameters()
    }


@pytest.mark.parametrize("missing", [False, True])
def test_compiled_jobs_agree(missing: bool, service: Service) -> None:
    """A compiled job has the losses of an eager one, up to rounding."""
    histories = []
    for engine in ("eager", "compiled"):
        found = service.succeeded(job(missing, engine, drop_last=True, metrics=["mean_absolute_error"]))
        assert found["used"]["engine"] == engine
        history = service.history(found["id"])
        errors = history["metrics"]["mean_absolute_error"]
        histories.append([history["train_loss"], history["validation_loss"], errors["train"]])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)


def test_ids_come_back(service: Service) -> None:
    """Predictions and evaluations of a table repeat its ids; an evaluation may omit the weights."""
    found = service.succeeded(job())
    body = "order,a,b\n007,0.5,1\n12,1,0.25\n"
    csv = {"Content-Type": "text/csv"}
    answer = service.client.post(found["links"]["predictions"], content=body, headers=csv).json()
    assert answer["ids"] == {"order": ["007", "12"]}
    zipped = service.client.post(
        found["links"]["predictions"], content=gzip.compress(body.encode()), headers=csv
    )
    assert zipped.json() == answer
    text = service.client.post(
        found["links"]["predictions"], content=body, headers={**csv, "Accept": "text/csv"}
    ).text
    assert [line.split(",")[0] for line in text.splitlines()] == ["order", "007", "12"]
    labelled = "order,a,b,y,z\n007,0.5,1,1,1\n12,1,0.25,1,1\n"
    response = service.client.post(found["links"]["evaluations"], content=labelled, headers=csv)
    assert response.status_code == httpx.codes.OK, response.text
    assert {row["ids"]["order"] for row in response.json()["worst"]} == {"007", "12"}
    weighted = "order,a,b,y,z,w\n007,0.5,1,1,1,1\n12,1,0.25,1,1,0\n"
    first = service.client.post(found["links"]["evaluations"], content=weighted, headers=csv).json()
    assert first["loss"] == pytest.approx(next(r["loss"] for r in first["worst"] if r["row"] == 0))


@pytest.mark.parametrize("missing", [False, True])
def test_an_evaluation_of_own_rows_has_weights_and_ids(missing: bool, service: Service) -> None:
    """The validation rows of the job have the loss of its last epoch, and the ids of the dataset."""
    found = service.succeeded(job(missing))
    query = {"split": "validation", "checkpoint": "last", "worst": ROWS}
    response = service.client.post(found["links"]["evaluations"], params=query)
    assert response.status_code == httpx.codes.OK, response.text
    answer = response.json()
    assert answer["loss"] == pytest.approx(service.history(found["id"])["validation_loss"][-1], rel=1e-6)
    assert {row["ids"]["order"] for row in answer["worst"]} == {f"{n:03}" for n in range(ROWS - 8, ROWS)}
    assert all(row["ids"]["order"] == f"{row['row']:03}" for row in answer["worst"])
