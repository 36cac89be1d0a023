"""Predictions, downloads and tables of trained models."""

import csv
import io
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.support.fits import FLOWERS, ORDERED, flowers, tensors, thermometer
from tests.support.server import Service
from tests.support.thermometer import T_C, T_U

CSV = {"Content-Type": "text/csv"}
ACCEPT_CSV = {"Accept": "text/csv"}


@pytest.fixture(scope="module")
def fit(service: Service) -> dict[str, Any]:
    """Train the thermometer."""
    return service.succeeded(thermometer(ORDERED, epochs=500, optimizer={"type": "SGD", "lr": 1e-3}))


@pytest.fixture(scope="module")
def species(service: Service) -> dict[str, Any]:
    """Train a classifier with string labels."""
    return service.succeeded(flowers())


def table(text: str) -> list[dict[str, str]]:
    """Parse CSV into rows by column name."""
    return list(csv.DictReader(io.StringIO(text)))


def test_every_form_predicts_the_same(service: Service, fit: dict[str, Any]) -> None:
    """Inputs, columns, rows, a dataset and CSV of the same rows have equal predictions in order."""
    content = {"columns": {"t_u": T_U, "ignored": ["x"] * 11}}
    uploaded = service.client.post("/v1/datasets", json=content).json()
    bodies = (
        {"inputs": [[u] for u in T_U]},
        content,
        {"rows": [{"t_u": u} for u in T_U]},
        {"dataset_id": uploaded["id"]},
    )
    answers = [service.predict(fit["id"], body) for body in bodies]
    text = "\n".join(["t_u", *map(str, T_U)])
    posted = service.client.post(fit["links"]["predictions"], content=text, headers=CSV)
    assert posted.status_code == httpx.codes.OK, posted.text
    answers.append(posted.json())
    assert all(answer == answers[0] for answer in answers)
    assert torch.tensor(answers[0]["outputs"]).shape == (11, 1)
    assert answers[0].keys() == {"epoch", "outputs"}


def test_concurrent_clients_get_the_answers_to_their_own_rows(
    service: Service, fit: dict[str, Any], species: dict[str, Any]
) -> None:
    """32 clients of two models get what they get alone; wrong rows and clients that leave harm none."""
    rows: list[tuple[str, Any]] = [(fit["id"], {"inputs": [[u + 0.1]]}) for u in T_U]
    rows += [(fit["id"], {"columns": {"t_u": T_U[:count]}}) for count in range(1, 11)]
    rows += [(species["id"], {"rows": [{"petal": petal, "sepal": 5.1}]}) for petal in FLOWERS["petal"][:11]]
    alone = [service.predict(*each) for each in rows]
    wrong = service.client.post(fit["links"]["predictions"], json={"inputs": [[1.0, 2.0]]}).json()["errors"]
    host, port = service.client.base_url.host, service.client.base_url.port
    head = f"POST {fit['links']['predictions']} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    left = (
        f"{head}Content-Type: application/json\r\nContent-Length: 18\r\n\r\n".encode()
        + b'{"inputs": [[1.5]]}'
    )

    def leave() -> None:
        with socket.create_connection((host, port)) as client:
            client.sendall(left)

    def is_refused() -> bool:
        answer = service.client.post(fit["links"]["predictions"], json={"inputs": [[1.0, 2.0]]})
        return bool(
            answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and answer.json()["errors"] == wrong
        )

    with ThreadPoolExecutor(len(rows)) as clients:
        for _ in range(5):
            found = [clients.submit(service.predict, *each) for each in rows]
            refused = [clients.submit(is_refused) for _ in range(4)]
            for _ in range(4):
                clients.submit(leave)
            assert [each.result() for each in found] == alone
            assert all(each.result() for each in refused)


def test_a_small_body_that_names_many_rows_is_answered(service: Service, fit: dict[str, Any]) -> None:
    """The short way of small bodies leads to the same answers for a dataset, CSV and a list of Accept."""
    path, values = fit["links"]["predictions"], [*T_U] * 400
    dataset = service.client.post("/v1/datasets", json={"columns": {"t_u": values}}).json()
    expected = service.predict(fit["id"], {"columns": {"t_u": values}})
    assert service.predict(fit["id"], {"dataset_id": dataset["id"]}) == expected
    rows = {"columns": {"t_u": T_U}}
    for accept in (
        "application/json",
        "*/*",
        "text/html, application/json;q=0.9",
        "application/problem+json",
    ):
        answer = service.client.post(path, json=rows, headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["outputs"] == expected["outputs"][:11]
    for accept, media_type in (("text/csv", "text/csv"), ("text/csv, application/json;q=0.9", "text/csv")):
        answer = service.client.post(path, json=rows, headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith(media_type)
    assert service.client.post(path, json=rows, headers={"Accept": "image/png"}).status_code == 406
    assert service.client.post("/v1/jobs/none/predictions", json=rows).status_code == httpx.codes.NOT_FOUND
    assert (
        service.client.post(path, content=b"{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )


def test_many_rows_are_streamed(service: Service, fit: dict[str, Any]) -> None:
    """Predictions of many rows are streamed, equal those of few rows and leave no files."""
    values = [u + repeat / 1000 for repeat in range(1000) for u in T_U]
    path, text = fit["links"]["predictions"], "\n".join(["t_u", *map(str, values)])
    outputs = service.predict(fit["id"], {"columns": {"t_u": values}})["outputs"]
    assert len(outputs) == len(values)
    assert outputs[:11] == service.predict(fit["id"], {"columns": {"t_u": values[:11]}})["outputs"]
    posted = service.client.post(path, content=text, headers={**CSV, **ACCEPT_CSV})
    assert posted.headers["Content-Type"].startswith("text/csv")
    assert [[float(row["t_c"])] for row in table(posted.text)] == outputs
    refused = service.client.post(path, content=text + "\nwarm", headers=CSV)
    assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    left = [each for each in (service.data_dir / "spool").rglob("*") if each.is_file()]
    assert [each.name for each in left] == ["lock"]


def test_predictions_as_csv(service: Service, fit: dict[str, Any]) -> None:
    """`Accept: text/csv` returns the outputs in a column named after the target."""
    outputs = service.predict(fit["id"], {"columns": {"t_u": T_U}})["outputs"]
    response = service.client.post(
        fit["links"]["predictions"], json={"columns": {"t_u": T_U}}, headers=ACCEPT_CSV
    )
    assert response.headers["Content-Type"].startswith("text/csv")
    assert [[float(row["t_c"])] for row in table(response.text)] == outputs


def test_target_transforms_are_inverted(service: Service) -> None:
    """Outputs have the units of the targets although the targets were standardized."""
    body = thermometer(epochs=400, optimizer={"type": "SGD", "lr": 0.1})
    body["data"]["transforms"] = [
        {"columns": ["t_u"], "type": "standardize"},
        {"columns": ["t_c"], "type": "standardize"},
    ]
    job = service.succeeded(body)
    outputs = service.predict(job["id"], {"columns": {"t_u": T_U}})["outputs"]
    assert [value for (value,) in outputs] == pytest.approx(T_C, abs=6.0)


def test_best_and_last_parameters_predict(service: Service) -> None:
    """`checkpoint=best` predicts with the parameters of the lowest validation loss."""
    job = service.succeeded(thermometer(ORDERED, epochs=2000, optimizer={"type": "SGD", "lr": 1e-3}))
    history = service.history(job["id"])
    best = min(history["validation_loss"])
    assert job["best"]["validation_loss"] == best
    assert job["best"]["epoch"] == history["validation_loss"].index(best) + 1
    validation = torch.randperm(11, generator=torch.Generator().manual_seed(0))[-2:]
    answer = service.predict(job["id"], {"columns": {"t_u": T_U}}, checkpoint="best")
    assert answer["epoch"] == job["best"]["epoch"]
    errors = torch.tensor(answer["outputs"])[validation, 0] - torch.tensor(T_C)[validation]
    assert errors.square().mean().item() == pytest.approx(best, rel=1e-4)
    last = service.predict(job["id"], {"columns": {"t_u": T_U}}, checkpoint="last")
    assert last["epoch"] == 2000
    assert last == service.predict(job["id"], {"columns": {"t_u": T_U}})
    missing = service.client.get(job["links"]["named_parameters"], params={"checkpoint": "1234567"})
    assert missing.status_code == httpx.codes.NOT_FOUND


def test_a_classifier_returns_labels_and_probabilities(service: Service, species: dict[str, Any]) -> None:
    """A classifier returns string labels and the softmax of the outputs."""
    rows = {"petal": FLOWERS["petal"], "sepal": FLOWERS["sepal"]}
    answer = service.predict(species["id"], {"columns": rows})
    outputs = torch.tensor(answer["outputs"])
    assert outputs.shape == (12, 3)
    torch.testing.assert_close(torch.tensor(answer["probabilities"]), outputs.softmax(dim=1))
    classes = ["setosa", "versicolor", "virginica"]
    assert answer["labels"] == [classes[index] for index in outputs.argmax(dim=1).tolist()]
    assert answer["labels"][:3] == ["setosa"] * 3


def test_a_classifier_returns_csv(service: Service, species: dict[str, Any]) -> None:
    """The CSV of a classifier has the label and one probability for each class."""
    body = {"columns": {"petal": [1.4], "sepal": [5.1]}}
    answer = service.predict(species["id"], body)
    response = service.client.post(species["links"]["predictions"], json=body, headers=ACCEPT_CSV)
    (row,) = table(response.text)
    assert row.pop("label") == "setosa"
    assert list(row) == ["probability_setosa", "probability_versicolor", "probability_virginica"]
    assert [float(value) for value in row.values()] == answer["probabilities"][0]


def test_a_binary_loss_returns_probabilities_and_labels(service: Service) -> None:
    """BCEWithLogitsLoss returns the sigmoid of the outputs and labels of p ≥ 0.5."""
    body = tensors(
        [[-2.0], [-1.0], [1.0], [2.0]],
        [[0], [0], [1], [1]],
        [{"type": "Linear", "out_features": 1}],
        loss="BCEWithLogitsLoss",
        metrics=["accuracy"],
        epochs=200,
        optimizer={"type": "SGD", "lr": 0.5},
    )
    job = service.succeeded(body)
    answer = service.predict(job["id"], {"inputs": [[-3.0], [3.0]]})
    probabilities = torch.tensor(answer["outputs"]).sigmoid()
    torch.testing.assert_close(torch.tensor(answer["probabilities"]), probabilities)
    assert answer["labels"] == [[0], [1]]
    assert service.history(job["id"])["metrics"]["accuracy"]["train"][-1] == 1.0


def test_the_model_loads_into_plain_pytorch(service: Service, fit: dict[str, Any]) -> None:
    """The safetensors download loads with `strict=True` and predicts like the service."""
    response = service.client.get(fit["links"]["model"], params={"format": "safetensors"})
    assert response.status_code == httpx.codes.OK, response.text
    model = nn.Sequential()
    model.add_module("hidden_linear", nn.Linear(1, 8))
    model.add_module("hidden_activation", nn.Tanh())
    model.add_module("output_linear", nn.Linear(8, 1))
    model.load_state_dict(safetensors.torch.load(response.content), strict=True)
    expected = model(0.1 * torch.tensor(T_U).unsqueeze(1)).tolist()
    assert service.predict(fit["id"], {"columns": {"t_u": T_U}})["outputs"] == expected


def test_buffers_are_separate_and_downloaded(service: Service) -> None:
    """Running statistics of BatchNorm1d are buffers and part of the download."""
    layers = [
        {"type": "Linear", "out_features": 4},
        {"type": "BatchNorm1d"},
        {"type": "Linear", "out_features": 1},
    ]
    job = service.succeeded(thermometer(layers, epochs=5))
    answer = service.read(job["links"]["named_parameters"])
    buffers = {each["name"] for each in answer["buffers"]}
    assert buffers == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not buffers & {each["name"] for each in answer["parameters"]}
    query = {"include": "values,statistics", "format": "csv"}
    table = service.client.get(job["links"]["named_parameters"], params=query).text
    lines = [*csv.DictReader(io.StringIO(table))]
    assert [line["name"] for line in lines if line["kind"] == "buffer"] == sorted(buffers, key=table.index)
    assert [line["name"] for line in lines if line["kind"] == "parameter"] == [
        each["name"] for each in answer["parameters"]
    ]
    assert (lines[0]["shape"], len(json.loads(lines[0]["values"]))) == ("[4,1]", 4)
    by_header = service.client.get(job["links"]["named_parameters"], headers={"Accept": "text/csv"})
    assert by_header.headers["Content-Type"].startswith("text/csv")
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    downloaded = service.client.get(job["links"]["model"])
    assert downloaded.status_code == httpx.codes.OK, downloaded.text
    model.load_state_dict(safetensors.torch.load(downloaded.content), strict=True)
    expected = model.eval()(0.1 * torch.tensor([[35.7]]))
    outputs = torch.tensor(service.predict(job["id"], {"inputs": [[35.7]]})["outputs"])
    torch.testing.assert_close(outputs, expected)


def test_history_as_csv(service: Service, species: dict[str, Any]) -> None:
    """`Accept: text/csv` returns the history with one line for each epoch, with metrics."""
    response = service.client.get(species["links"]["history"], params={"every": 20}, headers=ACCEPT_CSV)
    rows = table(response.text)
    history = service.history(species["id"], every=20)
    assert [int(row["epoch"]) for row in rows] == history["epochs"] == [1, 20, 40, 60]
    for name in ("train_loss", "validation_loss", "learning_rate"):
        assert [float(row[name]) for row in rows] == history[name]
    for split in ("train", "validation"):
        values = [float(row[f"{split}_accuracy"]) for row in rows]
        assert values == history["metrics"]["accuracy"][split]


def test_history_is_selected(service: Service, fit: dict[str, Any]) -> None:
    """Bounds, `every` and `max_points` select epochs of the history."""
    whole = service.history(fit["id"])
    assert whole["epochs"] == list(range(1, 501))
    assert whole["next_epoch"] == 501
    window = service.history(fit["id"], from_epoch=10, to_epoch=12)
    assert window["epochs"] == [10, 11, 12]
    assert window["train_loss"] == whole["train_loss"][9:12]
    few = service.history(fit["id"], max_points=5)["epochs"]
    assert (few[0], few[-1], len(few)) == (1, 500, 5)
    assert service.history(fit["id"], from_epoch=501)["epochs"] == []
    assert service.history(fit["id"], every=200, from_epoch=2)["epochs"] == [200, 400]


def test_outputs_beyond_float32_are_null(service: Service, fit: dict[str, Any]) -> None:
    """An output that is not finite is null in JSON and an empty cell in CSV."""
    job = service.succeeded(tensors([[1.0], [2.0]], [[1e3], [2e3]], [{"type": "Linear", "out_features": 1}]))
    body = {"inputs": [[3e38], [1.0]]}
    (first,), (second,) = service.predict(job["id"], body)["outputs"]
    assert first is None
    assert second is not None
    response = service.client.post(job["links"]["predictions"], json=body, headers=ACCEPT_CSV)
    assert response.status_code == httpx.codes.OK, response.text
    assert [row["output_0"] for row in table(response.text)] == ["", str(second)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"columns": {"t_v": [1.0]}}, "did you mean"),
        ({"rows": [{"t_u": "warm"}]}, "t_u"),
        ({"inputs": [[1.0, 2.0]]}, "[1, 2]"),
        ({"inputs": [[1.0]], "dataset_id": "ds_1"}, "one of"),
        ({"columns": {"t_u": [1.0]}, "rows": [{"t_u": 1.0}]}, "one of"),
        ({}, "one of"),
        ({"dataset_id": "ds_1"}, "dataset"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    service: Service, fit: dict[str, Any], body: dict[str, Any], message: str
) -> None:
    """Rows that cannot be predicted are refused with the reason."""
    response = service.client.post(fit["links"]["predictions"], json=body)
    assert response.status_code in (httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.NOT_FOUND), response.text
    assert message in response.text
