"""Labels of classes, from the upload to predictions, in every format and with both engines."""

import io
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn, optim

from tests.support.server import Service

X = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
LABELS = [0, 2, 7, 2, 0, 2]
CSV = {"Content-Type": "text/csv"}


def fit(data: dict[str, Any], outputs: int, engine: str, **training: Any) -> dict[str, Any]:
    """Return a request for a classification of one feature."""
    return {
        "data": {"features": ["x"], "targets": ["y"], **data},
        "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": outputs}]},
        "training": {
            "loss": {"type": "CrossEntropyLoss", "ignore_index": 7},
            "optimizer": {"type": "Adam", "lr": 0.05},
            "epochs": 60,
            "seed": 0,
            **training,
        },
        "engine": engine,
    }


def script(weight: list[float] | None = None) -> tuple[list[float], torch.Tensor]:
    """Train in plain PyTorch; return the loss of each epoch and the outputs [6, 3] after the last one."""
    torch.manual_seed(0)
    model = nn.Linear(1, 3)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    inputs, targets = torch.tensor(X)[:, None], torch.tensor(LABELS)
    loss_fn = nn.CrossEntropyLoss(ignore_index=7, weight=None if weight is None else torch.tensor(weight))
    losses = []
    for _ in range(60):
        loss = loss_fn(model(inputs), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses, model(inputs).detach()


def csv_table() -> str:
    """Return the rows as CSV."""
    return "\n".join(["x,y", *(f"{x},{y}" for x, y in zip(X, LABELS, strict=True))])


def parquet_table() -> bytes:
    """Return the rows as Parquet, with integers."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": X, "y": LABELS}), sink)
    return sink.getvalue()


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("source", ["columns", "csv", "parquet", "tensors"])
def test_a_job_of_indices_equals_plain_pytorch(service: Service, source: str, engine: str) -> None:
    """Indices stay, the ignored label counts nowhere, and every entrance reads the same labels."""
    data: dict[str, Any] = {"columns": {"x": X, "y": LABELS}}
    order = {"split": {"shuffle": False}}
    if source in ("csv", "parquet"):
        content = csv_table() if source == "csv" else parquet_table()
        uploaded = service.client.post("/v1/datasets", content=content)
        data = {"dataset_id": uploaded.json()["id"]}
    body = fit(data | order, 3, engine)
    if source == "tensors":
        body["data"] = {"inputs": [[x] for x in X], "targets": LABELS, **order}
    job = service.succeeded(body)
    losses, outputs = script()
    assert service.history(job["id"])["train_loss"] == pytest.approx(losses, rel=1e-5)
    rows = {"inputs": [[x] for x in X]}
    answer = service.predict(job["id"], rows)
    assert answer["classes"] == [0, 1, 2]
    torch.testing.assert_close(torch.tensor(answer["outputs"]), outputs, rtol=1e-4, atol=1e-5)
    assert answer["labels"] == outputs.argmax(dim=1).tolist()
    if source == "tensors":
        evaluated = service.client.post(job["links"]["evaluations"], json={**rows, "targets": LABELS}).json()
    else:
        posted = service.client.post(job["links"]["evaluations"], content=csv_table(), headers=CSV)
        assert posted.status_code == httpx.codes.OK, posted.text
        evaluated = posted.json()
    expected = nn.CrossEntropyLoss(ignore_index=7)(outputs, torch.tensor(LABELS))
    assert evaluated["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert sum(map(sum, evaluated["confusion_matrix"]["matrix"])) == 5
    assert {each["row"] for each in evaluated["worst"]} == {0, 1, 3, 4, 5}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_weights_of_the_loss_and_names(service: Service, engine: str) -> None:
    """`weight` by name has the effect of PyTorch's argument, and the names are in every answer."""
    names = ["low", "mid", "high"]
    weight = {"high": 3, "low": 1, "mid": 2}
    loss = {"type": "CrossEntropyLoss", "ignore_index": 7, "weight": weight}
    data = {"columns": {"x": X, "y": LABELS}, "classes": names}
    job = service.succeeded(fit(data, 3, engine, loss=loss))
    losses, outputs = script([1.0, 2.0, 3.0])
    assert service.history(job["id"])["train_loss"] == pytest.approx(losses, rel=1e-5)
    assert job["training"]["class_weights"] == {"low": 1, "mid": 2, "high": 3}
    answer = service.predict(job["id"], {"columns": {"x": X}})
    assert answer["classes"] == names
    assert answer["labels"] == [names[index] for index in outputs.argmax(dim=1).tolist()]
    encoding = service.read(job["links"]["encoding"])["targets"]
    assert (encoding["classes"], encoding["values"], encoding["outputs"]) == (names, [0, 1, 2], [0, 1, 2])
    assert encoding["ignored"] == 7


def test_a_job_keeps_the_numbers_of_the_one_it_starts_from(service: Service) -> None:
    """`from_job` keeps the order of the classes, which other labels end with a warning."""
    data = {"columns": {"x": X, "y": ["c", "a", "b", "a", "c", "b"]}, "classes": ["c", "b", "a"]}
    loss = "CrossEntropyLoss"
    first = service.succeeded(fit(data, 3, "eager", loss=loss))
    still = {"loss": loss, "optimizer": {"type": "SGD", "lr": 0.0}, "epochs": 1, "from_job": first["id"]}
    fewer = {"columns": {"x": X, "y": ["a", "c", "a", "c", "a", "c"]}}
    second = service.succeeded(fit(fewer, 3, "eager", **still))
    one, other = (service.predict(job["id"], {"columns": {"x": X}}) for job in (first, second))
    assert one | {"epoch": 0} == other | {"epoch": 0}
    others = {"columns": {"x": X, "y": ["a", "d", "b", "d", "a", "b"]}}
    response = service.submit(fit(others, 3, "eager", **still), validate_only=True).json()
    assert response["classes"] == ["a", "b", "d"]
    (warning,) = response["warnings"]
    assert warning["pointer"] == "#/training/from_job"
    assert '"c", "b", "a"' in warning["detail"]


def test_a_continuation_keeps_the_numbers(service: Service) -> None:
    """A continuation of a job with an ignored label and weights equals one job of all epochs."""
    loss = {"type": "CrossEntropyLoss", "ignore_index": 7, "weight": [1, 2, 3]}
    data = {"columns": {"x": X, "y": LABELS}}
    whole = service.succeeded(fit(data, 3, "eager", loss=loss, epochs=9, batch_size=2))
    first = service.succeeded(fit(data, 3, "eager", loss=loss, epochs=4, batch_size=2))
    more = {"loss": loss, "from_job": first["id"], "resume": True, "epochs": 9, "batch_size": 2}
    second = service.succeeded(fit(data, 3, "eager", **more))
    assert service.history(second["id"]) == service.history(whole["id"])
    assert service.parameters(second["id"]) == service.parameters(whole["id"])
