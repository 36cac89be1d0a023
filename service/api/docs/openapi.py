"""OpenAPI document: FastAPI's, completed with request bodies, problem responses and examples."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api.docs.examples import examples_of
from service.api.docs.examples.example import Example
from service.api.docs.schemas import publish, publish_components, publish_parameter
from service.api.http import problems
from service.api.http.headers import headers
from service.errors import (
    FitserveError,
    ForeignOrigin,
    HostNotAllowed,
    InvalidRequest,
    NotAcceptable,
    Unavailable,
)
from service.specs.data import DatasetContent
from service.specs.evaluation import EvaluationRequest
from service.specs.job import JobEdit, JobRequest
from service.specs.prediction import PredictionRequest

_BODIES = (DatasetContent, EvaluationRequest, JobEdit, JobRequest, PredictionRequest)
_PROBLEM_CONTENT = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# FastAPI writes header parameters in lower case.
_HEADER_NAMES = {
    name.lower(): name for name in ("Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Prefer")
}
_FIRST_STEPS = """\
## First steps

1. `POST /v1/jobs` with an example body and `Prefer: wait=30` fits a model; `?validate_only=true` only checks
   the request. All errors are reported at once, each with the pointer of its value.
2. `GET /v1/jobs/{job_id}/history` has the losses by epoch.
3. `POST /v1/jobs/{job_id}/predictions` predicts for new rows; `GET /v1/jobs/{job_id}/model` downloads the
   model.
4. `POST /v1/datasets` stores a file for any number of jobs: `{"data": {"dataset_id": "ds_…", …}, …}`.

`GET /v1/catalog/layers` lists the layers, `GET /v1/catalog/layers/Linear` the arguments of one.
Problems are `application/problem+json`; `/problems` explains them."""
_TAGS = {
    "jobs": "Submit, list, pause, resume, cancel and delete training jobs.",
    "results": "Results of a job: history, checkpoints, parameters, predictions, evaluations and the model.",
    "events": "Follow jobs with server-sent events.",
    "datasets": "Data that any number of jobs can use.",
    "parameters": "Parameters that any number of jobs can start with.",
    "system": "State and capabilities of the service.",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document, built on the first call."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=f"{app.description}\n\n{_FIRST_STEPS}",
            contact={"name": "The authors of Fitserve"},
            license_info={"name": "MIT", "identifier": "MIT"},
            servers=[{"url": "/", "description": "The service that sends this document."}],
            routes=app.routes,
            separate_input_output_schemas=False,  # a job's sections are those of a request
        )
        _, bodies = models_json_schema(
            [(model, "validation") for model in _BODIES], ref_template="#/components/schemas/{model}"
        )
        schemas = {**document["components"]["schemas"], **bodies["$defs"]}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        components = publish_components(schemas)
        document["components"]["schemas"] = components
        document["security"] = []
        document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
        for name, operation in operations_of(document):
            _name(operation)
            _publish_schemas(operation)
            _describe_success(operation, components)
            _add_problems(name, operation)
            for example in examples_of(name):
                _add_example(operation, example)
        app.openapi_schema = document
    return app.openapi_schema


def openapi_json(app: FastAPI) -> str:
    """Return the document as indented JSON (openapi.json)."""
    return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation with its name (`GET /v1/jobs`), in order."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _name(operation: dict[str, Any]) -> None:
    """Set the id from the handler's name and the summary from the start of its docstring."""
    operation["operationId"] = operation["summary"].lower().replace(" ", "_")
    operation["summary"] = re.split(r"[.:;](?:\s|$)", operation["description"])[0]


def _publish_schemas(operation: dict[str, Any]) -> None:
    """Publish the parameters and the schemas of the responses."""
    if parameters := operation.get("parameters"):
        operation["parameters"] = [publish_parameter(each, _HEADER_NAMES) for each in parameters]
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            if "schema" in content:
                content["schema"] = publish(content["schema"])


def _describe_success(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Replace FastAPI's generic description of a success by that of the schema."""
    for response in operation["responses"].values():
        if response["description"] == "Successful Response":
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            described = schemas.get(schema.get("$ref", "").removeprefix("#/components/schemas/"), {})
            response["description"] = described.get("description", "Done")


def _add_problems(name: str, operation: dict[str, Any]) -> None:
    """Add the errors of any operation; all errors, including FastAPI's own, are problem+json."""
    responses = operation["responses"]
    # Every operation refuses unknown hosts and query parameters, and formats that it does not have.
    for error in (HostNotAllowed, NotAcceptable, InvalidRequest):
        responses.setdefault(str(error.status), _problem(error))
    if not name.startswith("GET "):
        responses.setdefault(str(ForeignOrigin.status), _problem(ForeignOrigin))
    if "/v1/" in name:
        responses.setdefault("503", {**_problem(Unavailable), **headers("Retry-After")})
    for status, response in responses.items():
        schema = str(response.get("content", {}))
        if "HTTPValidationError" in schema:
            responses[status] = _problem(InvalidRequest)
        elif "#/components/schemas/Problem" in schema:
            responses[status] = {**response, "content": _PROBLEM_CONTENT}


def _problem(error: type[FitserveError]) -> dict[str, Any]:
    return {"description": error.title, "content": _PROBLEM_CONTENT}


def _add_example(operation: dict[str, Any], example: Example) -> None:
    label = example.intent.rstrip(".")
    if example.body is not None:
        content = operation["requestBody"]["content"]["application/json"]
        content.setdefault("examples", {})[label] = {"value": example.request_value()}
    if example.answer_value() is not None:
        response = operation["responses"][str(example.status)]
        media_type, content = next(iter(response["content"].items()))  # JSON is the first
        examples = {**content.get("examples", {}), label: {"value": example.answer_value()}}
        response["content"] = {**response["content"], media_type: {**content, "examples": examples}}
