"""Targets of every task: class weights, predictions and evaluations."""

from typing import Any

import httpx
import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import confusion_matrix
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tests.support.fits import FLOWERS, flowers, thermometer
from tests.support.script import assert_equal, fit_classifier, threads
from tests.support.server import Service

CSV = {"Content-Type": "text/csv"}
WEATHER = {
    "clouds": [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0],
    "pressure": [1.0, -1.0, 0.8, -0.8, 0.9, -0.9, 0.7, -0.7, 1.1, -1.1],
    "rain": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    "wind": [False, True] * 5,
}


def evaluate(service: Service, job: dict[str, Any], body: Any, **query: Any) -> dict[str, Any]:
    """Return the evaluation of a model on labelled rows."""
    response = service.client.post(job["links"]["evaluations"], json=body, params=query)
    assert response.status_code == httpx.codes.OK, response.text
    return dict(response.json())


def weather(*targets: str, **training: Any) -> dict[str, Any]:
    """Return a request for a fit of binary targets to two features."""
    body = flowers(loss="BCEWithLogitsLoss", **training)
    body["data"] = {"columns": WEATHER, "features": ["clouds", "pressure"], "targets": list(targets)}
    body["architecture"]["layers"] = [{"type": "Linear", "out_features": len(targets)}]
    return body


@pytest.fixture(scope="module")
def iris() -> dict[str, list[Any]]:
    """Return the iris data with class names, without two thirds of one species."""
    loaded = load_iris()
    columns = {f"x{index}": column.tolist() for index, column in enumerate(loaded.data.T)}
    columns["species"] = loaded.target_names[loaded.target].tolist()
    kept = [row for row, name in enumerate(columns["species"]) if name != "virginica" or row % 3 == 0]
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def iris_fit(columns: dict[str, list[Any]], **training: Any) -> dict[str, Any]:
    """Return a request for a classification of iris with a validation split."""
    body = flowers(batch_size=16, epochs=40, seed=5, optimizer={"type": "Adam", "lr": 0.01}, **training)
    body["data"] = {
        "columns": columns,
        "features": [name for name in columns if name != "species"],
        "targets": ["species"],
        "split": {"validation": 0.2, "seed": 0},
    }
    return body


def split(columns: dict[str, list[Any]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs [N, 4], class indices [N] and the training row numbers of the split."""
    names = sorted(set(columns["species"]))
    inputs = torch.tensor([values for name, values in columns.items() if name != "species"]).T
    targets = torch.tensor([names.index(species) for species in columns["species"]])
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    return inputs, targets, order[: -int(0.2 * len(targets))]


def test_weighted_iris_equals_the_script(service: Service, iris: dict[str, list[Any]]) -> None:
    """`class_weights: "auto"` has the bits of a script with balanced class weights."""
    job = service.succeeded(iris_fit(iris, class_weights="auto"))
    inputs, targets, train = split(iris)
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=targets[train].numpy())
    names = ["setosa", "versicolor", "virginica"]
    assert job["training"]["class_weights"] == dict(zip(names, balanced.tolist(), strict=True))
    with threads(job["used"]["threads"]):
        script = fit_classifier(
            inputs,
            targets,
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
            n_epochs=40,
            batch_size=16,
            lr=0.01,
            seed=5,
            loss_fn=nn.CrossEntropyLoss(weight=torch.tensor(balanced, dtype=torch.float32)),
        )
    assert_equal(service, job, script)


@pytest.mark.parametrize("weights", [None, "auto"])
def test_an_evaluation_of_the_validation_rows_equals_the_validation(
    service: Service, iris: dict[str, list[Any]], weights: str | None
) -> None:
    """An evaluation of the validation rows has the loss and metrics of the last epoch."""
    job = service.succeeded(iris_fit(iris, class_weights=weights, metrics=["accuracy", "f1_score"]))
    rows = len(iris["species"])
    validation = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[-int(0.2 * rows) :].tolist()
    columns = {name: [values[row] for row in validation] for name, values in iris.items()}
    answer = evaluate(service, job, {"columns": columns}, worst=3)
    assert answer["rows"] == len(validation)
    assert answer["loss"] == job["latest"]["validation_loss"]
    latest = job["latest"]["metrics"]
    assert answer["metrics"] == {name: values["validation"] for name, values in latest.items()}
    predicted = service.predict(job["id"], {"columns": columns})
    names = ["setosa", "versicolor", "virginica"]
    expected = confusion_matrix(columns["species"], predicted["labels"], labels=names)
    assert answer["confusion_matrix"] == {"classes": names, "matrix": expected.tolist()}
    assert predicted["classes"] == names
    assert len(answer["worst"]) == 3
    for each in answer["worst"]:
        assert each["target"] == columns["species"][each["row"]]
        assert each["label"] == predicted["labels"][each["row"]]


def test_every_form_of_rows_is_evaluated_the_same(service: Service) -> None:
    """Columns, rows, a dataset id and CSV of the same rows have equal evaluations."""
    job = service.succeeded(flowers())
    rows = [dict(zip(FLOWERS, row, strict=True)) for row in zip(*FLOWERS.values(), strict=True)]
    bodies = ({"columns": FLOWERS}, {"rows": rows}, {"dataset_id": job["dataset_id"]})
    answers = [evaluate(service, job, body) for body in bodies]
    lines = [",".join(FLOWERS), *(",".join(map(str, row.values())) for row in rows)]
    posted = service.client.post(job["links"]["evaluations"], content="\n".join(lines), headers=CSV)
    assert posted.status_code == httpx.codes.OK, posted.text
    assert all(answer == answers[0] for answer in [*answers, posted.json()])
    assert len(answers[0]["worst"]) == 10
    first = evaluate(service, job, bodies[0], checkpoint="best", worst=0)
    assert (first["epoch"], first["worst"]) == (job["best"]["epoch"], [])


def test_multiple_labels_are_learned(service: Service) -> None:
    """Several binary targets are learned and named in predictions and evaluations."""
    job = service.succeeded(weather("rain", "wind", class_weights="auto", epochs=300))
    assert job["training"]["class_weights"] == {"rain": 1.0, "wind": 1.0}
    answer = service.predict(job["id"], {"columns": WEATHER})
    assert answer["classes"] == ["rain", "wind"]
    assert torch.tensor(answer["probabilities"]).shape == (10, 2)
    assert answer["labels"] == [[r, int(w)] for r, w in zip(WEATHER["rain"], WEATHER["wind"], strict=True)]
    evaluation = evaluate(service, job, {"columns": WEATHER}, worst=1)
    assert evaluation["metrics"]["accuracy"] == 1.0
    assert evaluation["confusion_matrix"] == {"classes": ["rain", "wind"], "matrix": [[[5, 0], [0, 5]]] * 2}
    table = service.client.post(
        job["links"]["predictions"], json={"columns": WEATHER}, headers={"Accept": "text/csv"}
    )
    head = "rain,wind,label_rain,label_wind,probability_rain,probability_wind"
    assert table.text.splitlines()[0] == head


def test_a_binary_target_has_one_probability(service: Service) -> None:
    """A target of 0 and 1 has one probability, a label of 0 or 1 and a 2 × 2 matrix."""
    columns = {**WEATHER, "rain": [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]}
    body = weather("rain", class_weights="auto", epochs=300, metrics=["accuracy"])
    body["data"]["columns"] = columns
    job = service.succeeded(body)
    assert job["training"]["class_weights"] == {"rain": 4.0}
    answer = service.predict(job["id"], {"columns": columns})
    assert answer["classes"] == ["rain"]
    assert {type(label) for (label,) in answer["labels"]} == {int}
    matrix = evaluate(service, job, {"columns": columns})["confusion_matrix"]
    expected = confusion_matrix(columns["rain"], [label for (label,) in answer["labels"]])
    assert matrix == {"classes": [0, 1], "matrix": expected.tolist()}


@pytest.mark.parametrize("names", [("dry", "wet"), (False, True)])
def test_two_class_names(service: Service, names: tuple[Any, Any]) -> None:
    """A target with two names or booleans has one output and is predicted by name."""
    columns = {**WEATHER, "rain": [names[rain] for rain in [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]]}
    body = weather("rain", class_weights="auto", epochs=300, metrics=["accuracy"])
    body["data"]["columns"] = columns
    job = service.succeeded(body)
    keys = [str(name).lower() for name in names]
    assert job["training"]["class_weights"] == dict(zip(keys, (10 / 16, 10 / 4), strict=True))
    answer = service.predict(job["id"], {"columns": columns})
    assert answer["classes"] == [*names]
    second = torch.tensor(answer["outputs"]).sigmoid()
    torch.testing.assert_close(torch.tensor(answer["probabilities"]), torch.cat([1 - second, second], dim=1))
    matrix = evaluate(service, job, {"columns": columns})["confusion_matrix"]
    expected = confusion_matrix(columns["rain"], answer["labels"], labels=[*names])
    assert matrix == {"classes": [*names], "matrix": expected.tolist()}
    table = service.client.post(
        job["links"]["predictions"], json={"columns": columns}, headers={"Accept": "text/csv"}
    )
    assert table.text.splitlines()[0] == f"label,probability_{keys[0]},probability_{keys[1]}"


def test_a_regression_has_its_worst_rows(service: Service) -> None:
    """An evaluation of a regression lists the rows with the largest errors first."""
    job = service.succeeded(thermometer(epochs=500))
    columns = thermometer()["data"]["columns"]
    outputs = [value for (value,) in service.predict(job["id"], {"columns": columns})["outputs"]]
    errors = [(output - t_c) ** 2 for output, t_c in zip(outputs, columns["t_c"], strict=True)]
    answer = evaluate(service, job, {"columns": columns}, worst=11)
    assert [each["row"] for each in answer["worst"]] == sorted(range(11), key=lambda row: -errors[row])
    assert answer["loss"] == pytest.approx(sum(errors) / 11, rel=1e-5)
    assert answer["confusion_matrix"] is None
    assert answer["metrics"].keys() == {"mean_absolute_error", "r2_score"}


def test_suitable_losses_are_suggested(service: Service) -> None:
    """`validate_only` and the error for a missing loss suggest a loss for the targets."""
    body = flowers()
    report = service.submit(body, validate_only=True).json()
    assert report["suggestions"] == {
        "task": "multiclass",
        "loss": "CrossEntropyLoss",
        "metrics": ["accuracy", "f1_score"],
        "outputs": 3,
    }
    del body["training"]["loss"]
    (error,) = service.submit(body).json()["errors"]
    assert error["pointer"] == "#/training"
    assert '"loss": "CrossEntropyLoss"' in error["detail"]
    assert "3 outputs" in error["detail"]


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({"columns": {"petal": [1.0], "sepal": [1.0], "species": ["rose"]}}, "#/columns/species/0", "rose"),
        ({"columns": {"petal": [1.0], "sepal": [1.0]}}, "#/columns", "species"),
        ({"rows": [{"petal": 1.0, "species": "setosa"}]}, "#/rows", "sepal"),
        ({"inputs": [[1.0, 1.0]]}, "#", "targets"),
        ({"columns": {"petal": [1.0]}, "targets": [0]}, "#", "`targets` requires `inputs`"),
        ({"columns": {"petal": [1.0]}, "rows": []}, None, "exactly one"),
        ({"column": {}}, "#/column", "did you mean `columns`?"),
        ([], "#", ""),
    ],
)
def test_rows_that_cannot_be_evaluated_are_refused(
    service: Service, body: Any, pointer: str | None, message: str
) -> None:
    """Rows that cannot be evaluated are 422 with the pointer of the error."""
    job = service.succeeded(flowers(epochs=1))
    response = service.client.post(job["links"]["evaluations"], json=body)
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY, response.text
    assert message in response.text
    assert pointer is None or pointer in [error["pointer"] for error in response.json()["errors"]]


def test_parameters_of_an_evaluation_are_checked(service: Service) -> None:
    """Invalid query parameters of an evaluation are refused."""
    job = service.succeeded(flowers(epochs=1))
    path = job["links"]["evaluations"]
    for query, status in (
        ({"worst": -1}, 422),
        ({"worst": 1001}, 422),
        ({"wurst": 1}, 422),
        ({"checkpoint": "first"}, 422),
        ({"checkpoint": "77"}, 404),
    ):
        response = service.client.post(path, json={"columns": FLOWERS}, params=query)
        assert response.status_code == status, response.text
    assert service.client.post("/v1/jobs/job_x/evaluations", json={"columns": FLOWERS}).status_code == 404
    odd = service.client.post(path, content=b"\x89PNG\r\n", headers={"Content-Type": "image/png"})
    assert odd.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE


def test_a_job_keeps_its_warnings(service: Service) -> None:
    """`validate_only`, the response to a submission, the job and its log have the same warnings."""
    body = flowers(epochs=2)
    body["architecture"]["layers"].append({"type": "Softmax", "dim": 1})
    warnings = service.submit(body, validate_only=True).json()["warnings"]
    assert "applies log-softmax itself" in warnings[0]["detail"]
    job = service.succeeded(body)
    assert job["warnings"] == service.job(job["id"])["warnings"] == warnings
    assert service.messages(job["id"])[0] == f"{warnings[0]['pointer']}: {warnings[0]['detail']}"
    assert service.succeeded(flowers(epochs=2))["warnings"] == []


def test_an_evaluation_refuses_what_the_training_refuses(service: Service) -> None:
    """Targets that break the rule of the loss are 422 in a job and in evaluations of every form."""
    body = weather("rain", epochs=1)
    body["data"]["columns"] = {**WEATHER, "rain": [*WEATHER["rain"][:9], 5]}
    (error,) = service.submit(body).json()["errors"]
    assert error["pointer"] == "#/data/targets/0"
    assert "`rain` in row 9 is 5, and `BCEWithLogitsLoss` needs targets from 0 to 1" in error["detail"]
    job = service.succeeded(weather("rain", epochs=1))
    columns = {"clouds": [0.1, 0.2], "pressure": [1.0, 2.0], "rain": [0, 5]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    stored = service.client.post("/v1/datasets", json={"columns": columns}).json()["id"]
    lines = [",".join(columns), *(",".join(map(str, row.values())) for row in rows)]
    evaluations = job["links"]["evaluations"]
    for pointer, sent in (
        ("#/columns/rain/1", {"json": {"columns": columns}}),
        ("#/rows/1/rain", {"json": {"rows": rows}}),
        ("#/columns/rain/1", {"json": {"dataset_id": stored}}),
        ("#/columns/rain/1", {"content": "\n".join(lines), "headers": CSV}),
    ):
        response = service.client.post(evaluations, **sent)
        assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY, response.text
        (error,) = response.json()["errors"]
        assert error["pointer"] == pointer
        assert "`rain` in row 1 is 5" in error["detail"]
