"""The OpenAPI document: FastAPI's, with the bodies that our own code parses, and problems as they are sent."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api import problems
from service.specs.data import DatasetContent
from service.specs.job import JobRequest
from service.specs.prediction import PredictionRequest

_BODIES = (DatasetContent, JobRequest, PredictionRequest)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, schemas = models_json_schema(
            [(model, "validation") for model in _BODIES], ref_template="#/components/schemas/{model}"
        )
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(schemas["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        _document_problems(document)
        app.openapi_schema = document
    return app.openapi_schema


def _document_problems(document: dict[str, Any]) -> None:
    """Errors are sent as problem+json, FastAPI's own validation errors included."""
    problem = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                schema = str(response.get("content", {}))
                if "#/components/schemas/Problem" in schema or "HTTPValidationError" in schema:
                    response["content"] = problem
                    if status == "422" and response["description"] == "Validation Error":
                        response["description"] = "The request is not valid."
