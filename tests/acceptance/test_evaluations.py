"""Evaluations over HTTP: the job's own rows, thresholds, curves and the units of the targets."""

from typing import Any

import httpx
import pytest

from tests.support.fits import FLOWERS, flowers, thermometer
from tests.support.server import Service

SECONDS = [1_700_000_000 + 60 * row for row in range(5)]
SPLIT = {"validation_rows": [3, 7, 11], "test_rows": [0, 4, 8]}
CSV = {"Content-Type": "text/csv", "Accept": "text/csv"}


def evaluate(service: Service, job: dict[str, Any], body: Any = None, **query: Any) -> dict[str, Any]:
    """Return the evaluation of a model on the rows of a body, or without one on a split of the job."""
    response = service.client.post(job["links"]["evaluations"], json=body, params=query)
    assert response.status_code == httpx.codes.OK, response.text
    return dict(response.json())


def refusal(response: httpx.Response, status: int) -> dict[str, str]:
    """Return the errors of a refused request by pointer."""
    assert response.status_code == status, response.text
    return {error["pointer"]: error["detail"] for error in response.json()["errors"]}


def timestamps(**training: Any) -> dict[str, Any]:
    """Return a fit of times in seconds since 1970."""
    body = thermometer(optimizer={"type": "Adam", "lr": 0.05}, epochs=800, **training)
    body["data"] = {
        "columns": {"x": [0, 1, 2, 3, 4], "y": SECONDS},
        "features": ["x"],
        "targets": ["y"],
        "transforms": [{"columns": ["x", "y"], "type": "standardize"}],
    }
    return body


@pytest.fixture(scope="module")
def trained(service: Service) -> dict[str, Any]:
    """A classification with rows in every split."""
    body = flowers(batch_size=4, early_stopping={"patience": 50})
    body["data"]["split"] = SPLIT
    return service.succeeded(body)


def test_times_are_predicted_to_the_second(service: Service) -> None:
    """Predictions of standardized targets near 1.7e9 are within 1 of them, in JSON, CSV and worst rows."""
    job = service.succeeded(timestamps())
    rows = {"columns": {"x": [0, 1, 2, 3, 4]}}
    outputs = service.predict(job["id"], rows)["outputs"]
    assert [value for (value,) in outputs] == pytest.approx(SECONDS, abs=1, rel=0)
    csv = service.client.post(job["links"]["predictions"], content="x\n0\n1\n2\n3\n4\n", headers=CSV)
    assert [float(line) for line in csv.text.split()[1:]] == [value for (value,) in outputs]
    for each in evaluate(service, job, {"columns": {"x": [0, 1, 2, 3, 4], "y": SECONDS}})["worst"]:
        assert each["target"] == [SECONDS[each["row"]]]
        assert each["output"] == outputs[each["row"]]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_split_has_the_values_of_the_history(
    service: Service, trained: dict[str, Any], checkpoint: str
) -> None:
    """Loss and metrics of the job's validation rows are those of the history."""
    answer = evaluate(service, trained, split="validation", checkpoint=checkpoint)
    history = service.history(trained["id"])
    index = answer["epoch"] - 1
    assert answer["rows"] == 3
    assert answer["loss"] == history["validation_loss"][index]
    assert answer["metrics"]["accuracy"] == history["metrics"]["accuracy"]["validation"][index]
    assert answer["epoch"] == (trained["best"] if checkpoint == "best" else trained["latest"])["epoch"]


def test_the_test_split_has_the_values_of_test(service: Service, trained: dict[str, Any]) -> None:
    """Loss and metrics of the job's test rows are `test`, and worst rows are named by row of the dataset."""
    answer = evaluate(service, trained, split="test")
    assert {name: answer[name] for name in ("loss", "metrics")} == trained["test"]
    assert {each["row"]: each["target"] for each in answer["worst"]} == {
        row: FLOWERS["species"][row] for row in SPLIT["test_rows"]
    }


def test_the_training_rows_equal_the_same_rows_in_a_body(service: Service, trained: dict[str, Any]) -> None:
    """The training rows have the evaluation of the same rows in a body, in their order."""
    rows = service.read(f"/v1/jobs/{trained['id']}/split")["train"]["rows"]
    columns = {name: [values[row] for row in rows] for name, values in FLOWERS.items()}
    own = evaluate(service, trained, split="train", curves="true", worst=0)
    assert own == evaluate(service, trained, {"columns": columns}, curves="true", worst=0)
    assert sum(each["support"] for each in own["per_class"]) == own["rows"] == 6
    assert len(own["curves"]) == 3


def test_a_split_may_be_another_dataset(service: Service) -> None:
    """Rows of `test_dataset_id` are those of that dataset."""
    columns = {name: values[::2] for name, values in FLOWERS.items()}
    test = service.client.post("/v1/datasets", json={"columns": columns}).json()["id"]
    body = flowers()
    body["data"]["split"] = {"validation": 3, "test_dataset_id": test}
    job = service.succeeded(body)
    answer = evaluate(service, job, split="test", worst=6)
    assert {name: answer[name] for name in ("loss", "metrics")} == job["test"]
    assert sorted(each["row"] for each in answer["worst"]) == [*range(6)]


def test_rows_come_from_one_place(service: Service, trained: dict[str, Any]) -> None:
    """A body and a split, neither of them, and an empty split are refused with the remedy."""
    path = trained["links"]["evaluations"]
    both = service.client.post(path, json={"columns": FLOWERS}, params={"split": "test"})
    assert "one of them" in refusal(both, 422)["?split"]
    form = {"file": ("rows.csv", b"petal,sepal,species\n1,5,setosa\n", "text/csv")}
    in_form = service.client.post(path, files=form, data={"split": "test"})
    assert "one of them" in refusal(in_form, 422)["?split"]
    assert "?split=validation" in refusal(service.client.post(path), 422)["#"]
    unknown = service.client.post(path, params={"split": "tests"})
    assert refusal(unknown, 422).keys() == {"?split"}
    job = service.succeeded(flowers(epochs=1))
    empty = service.client.post(job["links"]["evaluations"], params={"split": "test"})
    assert "no test rows" in refusal(empty, 422)["?split"]


def test_without_its_dataset_a_job_has_no_rows(service: Service) -> None:
    """A split whose dataset was deleted is a conflict; rows in the body are still evaluated."""
    body = flowers(epochs=1)
    dataset = service.client.post("/v1/datasets", json={"columns": FLOWERS}).json()["id"]
    body["data"] = {**body["data"], "dataset_id": dataset}
    del body["data"]["columns"]
    job = service.succeeded(body)
    assert evaluate(service, job, split="validation")["rows"] == 3
    assert service.client.delete(f"/v1/datasets/{dataset}").status_code == httpx.codes.NO_CONTENT
    gone = service.client.post(job["links"]["evaluations"], params={"split": "validation"})
    assert gone.status_code == httpx.codes.CONFLICT
    assert gone.json()["type"] == "/problems/dataset-deleted"
    assert evaluate(service, job, {"columns": FLOWERS})["rows"] == 12


def test_a_form_has_the_options_of_the_query(service: Service) -> None:
    """A threshold decides labels, as a query parameter or as a part of a form."""
    body = flowers(loss="BCEWithLogitsLoss")
    rain = [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1]
    body["data"] |= {"columns": FLOWERS | {"rain": rain}, "targets": ["rain"]}
    body["architecture"]["layers"][-1]["out_features"] = 1
    job = service.succeeded(body)
    rows = zip(FLOWERS["petal"], FLOWERS["sepal"], rain, strict=True)
    lines = ["petal,sepal,rain", *(",".join(map(str, row)) for row in rows)]
    form = {"file": ("rows.csv", "\n".join(lines).encode(), "text/csv")}
    path = job["links"]["evaluations"]
    in_form = service.client.post(path, files=form, data={"threshold": "0", "worst": "1"}).json()
    in_query = service.client.post(path, files=form, params={"threshold": 0, "worst": 1}).json()
    assert in_form == in_query
    assert in_form["threshold"] == 0
    assert in_form["confusion_matrix"]["matrix"] == [[0, 6], [0, 6]]
    assert len(in_form["worst"]) == 1
    beyond = service.client.post(path, files=form, params={"threshold": 1.5})
    assert refusal(beyond, 422).keys() == {"?threshold"}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("transform", ["standardize", "log1p"])
def test_values_in_the_units_of_the_targets(service: Service, engine: str, transform: str) -> None:
    """History, `latest`, `best`, `test` and evaluations have loss and metrics in the units of the targets."""
    body = thermometer(metrics=["mean_absolute_error", "r2_score"], batch_size=3, epochs=30)
    body["data"]["columns"]["t_c"] = targets = [value + 10.0 for value in body["data"]["columns"]["t_c"]]
    body["data"]["transforms"] = [
        {"columns": ["t_u"], "type": "standardize"},
        {"columns": ["t_c"], "type": transform},
    ]
    body["data"]["split"] = {"validation": 2, "test": 2}
    job = service.succeeded({**body, "engine": engine})
    history, rows = service.history(job["id"]), service.read(f"/v1/jobs/{job['id']}/split")
    outputs = service.predict(job["id"], {"columns": {"t_u": body["data"]["columns"]["t_u"]}})["outputs"]
    validation = {split: values[-1] for split, values in history["in_target_units"]["loss"].items()}
    answers = {split: evaluate(service, job, split=split) for split in ("validation", "test")}
    for split, answer in answers.items():
        errors = [outputs[row][0] - targets[row] for row in rows[split]["rows"]]
        found = answer["in_target_units"]
        assert found["loss"] == pytest.approx(sum(error**2 for error in errors) / 2, rel=1e-4)
        mean = sum(map(abs, errors)) / 2
        assert found["metrics"]["mean_absolute_error"] == pytest.approx(mean, rel=1e-4)
    assert job["test"]["in_target_units"] == answers["test"]["in_target_units"]
    loss = answers["validation"]["in_target_units"]["loss"]
    assert validation["validation"] == pytest.approx(loss, rel=1e-4)  # XLA rounds differently
    assert job["latest"]["in_target_units"]["loss"] == validation
    best = job["best"]["epoch"] - 1
    for name, values in history["in_target_units"]["metrics"].items():
        assert job["best"]["in_target_units"]["metrics"][name]["train"] == values["train"][best]
    text = service.client.get(job["links"]["history"], headers={"Accept": "text/csv"}).text
    assert "validation_mean_absolute_error_in_target_units" in text.split()[0].split(",")
