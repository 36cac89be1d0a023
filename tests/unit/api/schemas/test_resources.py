"""Responses of a running service against the models of the OpenAPI document."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from service.api.schemas import datasets, jobs, results, system
from service.api.schemas.base import Resource
from service.specs.job import JobStatus, StopReason
from tests.support.fits import LONG, ORDERED, flowers, thermometer
from tests.support.server import Service

TIMESTAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


def as_documented(model: type[BaseModel], response: httpx.Response) -> dict[str, Any]:
    """Assert that a response has exactly the fields of a model; return its body."""
    assert response.headers["Content-Type"] == "application/json"
    document = response.json()
    model.model_validate(document)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert required <= document.keys() <= model.model_fields.keys()
    return dict(document)


def subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield all models that inherit from a model."""
    for each in model.__subclasses__():
        yield each
        yield from subclasses(each)


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """A fit with validation, test rows and a metric."""
    body = {**thermometer(ORDERED, epochs=5, metrics=["r2_score"]), "name": "as documented"}
    body["data"]["split"] = {"validation": 2, "test": 2}
    return service.succeeded(body)


def test_every_get_answers_as_documented(service: Service, job: dict[str, Any]) -> None:
    """The response of every GET of the OpenAPI document has its documented model."""
    initial = service.client.post("/v1/parameters", content=service.client.get(job["links"]["model"]).content)
    ids = {
        "job_id": job["id"],
        "dataset_id": job["dataset_id"],
        "parameter_set_id": initial.raise_for_status().json()["id"],
    }
    parameter, layer = {**ids, "name": "output_linear.bias"}, {"kind": "layers", "name": "Linear"}
    paths = service.read("/openapi.json")["paths"]
    models = {model.__name__: model for model in subclasses(Resource)}
    read = set()
    for path, operations in paths.items():
        if "get" not in operations:
            continue
        content = operations["get"]["responses"]["200"].get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        names = layer if path.startswith("/v1/catalog") else parameter
        with service.client.stream("GET", path.format(**names)) as response:
            assert response.status_code == 200, response.read()
            if "$ref" in schema:  # a response without a model may be an endless stream
                response.read()
                as_documented(models[schema["$ref"].rsplit("/", 1)[1]], response)
        read.add(path)
    assert {
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/history",
        "/v1/datasets",
        "/v1/system",
    } <= read


def test_every_operation_of_the_contract_is_documented(service: Service) -> None:
    """The OpenAPI 3.1 document has the operations of the contract, and all their errors are problems."""
    document = service.read("/openapi.json")
    assert document["openapi"].startswith("3.1")
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert {
        "POST /v1/datasets",
        "GET /v1/datasets",
        "GET /v1/datasets/{dataset_id}",
        "GET /v1/datasets/{dataset_id}/rows",
        "DELETE /v1/datasets/{dataset_id}",
        "POST /v1/parameters",
        "GET /v1/parameters",
        "GET /v1/parameters/{parameter_set_id}",
        "GET /v1/parameters/{parameter_set_id}/content",
        "DELETE /v1/parameters/{parameter_set_id}",
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}",
        "POST /v1/jobs/{job_id}/cancel",
        "POST /v1/jobs/{job_id}/pause",
        "POST /v1/jobs/{job_id}/resume",
        "GET /v1/jobs/{job_id}/events",
        "GET /v1/events",
        "GET /v1/jobs/{job_id}/checkpoints",
        "GET /v1/jobs/{job_id}/history",
        "GET /v1/jobs/{job_id}/named_parameters",
        "GET /v1/jobs/{job_id}/named_parameters/{name}",
        "POST /v1/jobs/{job_id}/predictions",
        "POST /v1/jobs/{job_id}/evaluations",
        "GET /v1/jobs/{job_id}/model",
        "GET /v1/catalog",
        "GET /v1/system",
        "GET /livez",
        "GET /readyz",
    } <= operations.keys()
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and name != "GET /readyz":
                assert list(response["content"]) == ["application/problem+json"], (name, status)


@pytest.mark.parametrize(
    "body",
    [
        thermometer(epochs=2),
        flowers(epochs=2, early_stopping={"patience": 2}, scheduler={"type": "StepLR", "step_size": 1}),
        thermometer(epochs=1000, optimizer={"type": "SGD", "lr": 1e6}),
    ],
    ids=["regression", "classification", "diverged"],
)
def test_ended_jobs_answer_as_documented(service: Service, body: dict[str, Any]) -> None:
    """A job that is checked, submitted, ended and listed has the documented fields, for any outcome."""
    as_documented(jobs.Preflight, service.submit(body, validate_only=True))
    submitted = service.submit(body)
    queued = as_documented(jobs.Job, submitted)
    service.ended(queued["id"])
    ended = as_documented(jobs.Job, service.client.get(queued["links"]["self"]))
    as_documented(results.History, service.client.get(queued["links"]["history"]))
    listed = as_documented(jobs.JobPage, service.client.get("/v1/jobs", params={"page_size": 1}))
    assert listed["items"] == [ended]
    assert ended["progress"].keys() == jobs.Progress.model_fields.keys()
    assert ended["timings"].keys() == jobs.Timings.model_fields.keys()


def test_running_and_cancelled_jobs_answer_as_documented(service: Service) -> None:
    """A job has the documented fields while it runs, after a cancel request and once it is cancelled."""
    job_id = service.running(thermometer(epochs=LONG))
    path = f"/v1/jobs/{job_id}"
    running = as_documented(jobs.Job, service.client.get(path))
    assert (running["status"], running["finished_at"], running["stop_reason"]) == ("running", None, None)
    as_documented(results.History, service.client.get(f"{path}/history", params={"every": 100}))
    as_documented(jobs.Job, service.client.post(f"{path}/cancel"))
    service.ended(job_id)
    as_documented(jobs.Job, service.client.get(path))


@pytest.mark.parametrize("build", [thermometer, flowers])
def test_results_answer_as_documented(service: Service, build: Callable[..., dict[str, Any]]) -> None:
    """Parameters, predictions and evaluations have the documented fields, for any value of `include`."""
    job = service.succeeded(build(epochs=2))
    path = job["links"]["named_parameters"]
    for include in ("", "values", "gradients", "statistics", "values,gradients,statistics"):
        response = service.client.get(path, params={"include": include})
        answer = as_documented(results.NamedParameters, response)
        found = set.intersection(*(set(each) for each in answer["parameters"]))
        assert ("values" in found) == ("values" in include)
        assert ("gradient" in found) == ("gradients" in include)
        assert ("norm" in found) == ("statistics" in include)
    as_documented(results.Parameter, service.client.get(f"{path}/0.bias"))
    width = len(job["data"]["features"])
    body = {"inputs": [[1.0] * width] * 3}
    as_documented(results.Predictions, service.client.post(job["links"]["predictions"], json=body))
    body = {"dataset_id": job["dataset_id"]}
    answer = as_documented(results.Evaluation, service.client.post(job["links"]["evaluations"], json=body))
    assert answer["worst"]


def test_uploads_answer_as_documented(service: Service) -> None:
    """A new dataset, a repeated upload and its rows have the documented fields."""
    for body in ({"columns": {"z": [1, 2], "w": ["a", None]}}, {"inputs": [[1], [2]], "targets": [0, 1]}):
        for status in (201, 200):
            response = service.client.post("/v1/datasets", json=body)
            assert response.status_code == status
            dataset = as_documented(datasets.Dataset, response)
        as_documented(datasets.RowPage, service.client.get(dataset["links"]["rows"]))


def test_formats_of_times_and_ids(service: Service, job: dict[str, Any]) -> None:
    """Times are in RFC 3339 with microseconds and Z, in order; ids are a prefix and a ULID."""
    times = [job[f"{name}_at"] for name in ("created", "started", "finished")]
    assert times == sorted(times)
    for time in times:
        assert re.match(TIMESTAMP, time)
    for prefix, value in (("job", job["id"]), ("ds", job["dataset_id"])):
        assert re.match(rf"^{prefix}_[0-9A-HJKMNP-TV-Z]{{26}}$", value)


def test_values_of_enums() -> None:
    """The statuses and the stop reasons are those of the contract."""
    assert {*JobStatus} == {"queued", "running", "paused", "succeeded", "failed", "cancelled"}
    assert {*StopReason} == {"completed", "early_stopping", "max_runtime", "diverged", "cancelled", "error"}


def test_health_and_index(service: Service) -> None:
    """Health, readiness, index and system have their documented models, and every link of the index works."""
    assert as_documented(system.Health, service.client.get("/livez"))["status"] == "ok"
    ready = as_documented(system.Health, service.client.get("/readyz"))
    assert ready["checks"] == dict.fromkeys(("database", "artifacts", "helpers", "requests", "room"), "ok")
    trains = as_documented(system.Health, service.client.get("/readyz?workers=true"))
    assert trains["checks"] == {**ready["checks"], "workers": "ok"}
    index = as_documented(system.Index, service.client.get("/"))
    for link in index["links"].values():
        assert service.client.get(link).status_code == 200, link
    state = as_documented(system.System, service.client.get("/v1/system"))
    assert (len(state["workers"]), state["devices"]) == (2, ["cpu"])
