"""Validity and completeness of the OpenAPI document, and the page that shows it."""

import re
from typing import Any

import httpx
import openapi_spec_validator
import pytest
from openapi_schema_validator import OAS31Validator

from service.api.docs.openapi import openapi_json, operations_of
from service.app import create_app
from service.settings import Settings
from tests.support.repository import ROOT
from tests.support.server import Service

DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = dict(operations_of(DOCUMENT))
PROBLEM = "application/problem+json"


def test_openapi_json_is_up_to_date() -> None:
    """openapi.json is the output of `fitserve openapi`."""
    printed = openapi_json(create_app(Settings()))
    assert printed == (ROOT / "openapi.json").read_text(), "openapi.json is out of date: run `make docs`."


def test_the_document_is_valid() -> None:
    """The document is valid OpenAPI 3.1."""
    assert DOCUMENT["openapi"].startswith("3.1")
    openapi_spec_validator.validate(DOCUMENT)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_described(name: str) -> None:
    """Every operation has an id, a summary, a description and tags with descriptions."""
    operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z_]+", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}


def test_operation_ids_are_unique() -> None:
    """No two operations have the same id."""
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_described(name: str) -> None:
    """Every parameter of a query or a header has a description."""
    parameters = OPERATIONS[name].get("parameters", [])
    assert [each["name"] for each in parameters if each["in"] != "path" and not each.get("description")] == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_are_problems(name: str) -> None:
    """Every error response is documented as a problem, except 503 of /readyz, which is a health document."""
    errors = {status: each for status, each in OPERATIONS[name]["responses"].items() if status >= "400"}
    assert "422" in errors
    if name == "GET /readyz":
        del errors["503"]
    assert [status for status, each in errors.items() if list(each["content"]) != [PROBLEM]] == []


def _examples() -> list[tuple[str, dict[str, Any], Any]]:
    found = []
    for name, operation in OPERATIONS.items():
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            for content in part.get("content", {}).values():
                for label, example in content.get("examples", {}).items():
                    found.append((f"{name}: {label}", content["schema"], example["value"]))
    return found


@pytest.mark.parametrize(("schema", "value"), [pytest.param(*rest, id=label) for label, *rest in _examples()])
def test_an_example_is_valid(schema: dict[str, Any], value: Any) -> None:
    """Every example is valid against its schema."""
    OAS31Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def _json_bodies() -> dict[str, dict[str, Any]]:
    bodies = {name: each.get("requestBody", {}).get("content", {}) for name, each in OPERATIONS.items()}
    return {name: body["application/json"] for name, body in bodies.items() if "application/json" in body}


@pytest.mark.parametrize("name", _json_bodies())
def test_a_body_has_an_example(name: str) -> None:
    """Every operation with a JSON body has an example of it."""
    assert _json_bodies()[name]["examples"]


def _json_answers() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            if status.startswith("2") and "application/json" in answer.get("content", {}):
                found.setdefault(name, []).append(answer["content"]["application/json"])
    return found


@pytest.mark.parametrize("name", _json_answers())
def test_an_answer_has_an_example(name: str) -> None:
    """Every operation with a JSON answer has an example of it; `tests.docs.record_answers` records them."""
    assert any(content.get("examples") for content in _json_answers()[name])


def test_the_service_serves_the_document(service: Service) -> None:
    """A running service serves the document at /openapi.json."""
    assert service.read("/openapi.json") == DOCUMENT


def test_the_browsable_reference_needs_no_internet_access(service: Service) -> None:
    """/docs refers to no other host, and every file to which it refers exists."""
    page = service.client.get("/docs")
    assert page.status_code == httpx.codes.OK
    references = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert references
    for path in references:
        assert path.startswith("/")
        assert service.client.get(path).status_code == httpx.codes.OK
    assert "https://" not in page.text
