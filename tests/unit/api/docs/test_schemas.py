"""Published schemas: what generators of clients need, and unions of which exactly one alternative matches."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service.api.docs.openapi import operations_of
from service.api.docs.schemas import publish, publish_components
from tests.support.contract import document, errors_of

SCHEMAS: dict[str, Any] = document()["components"]["schemas"]
OPERATIONS = dict(operations_of(document()))
DATA = {"columns": {"x": [0, 1], "y": [1, 3]}, "features": ["x"], "targets": ["y"]}
LINEAR = {"type": "Linear", "out_features": 1}
TRAINING = {"loss": "MSELoss", "optimizer": "Adam", "epochs": 3}
ID = "01M85CE605CZ94P7PS8B9J2DCQ"


def body(**sections: Any) -> dict[str, Any]:
    """Return a job request with other sections."""
    architecture = {"type": "sequential", "layers": [LINEAR]}
    return {"data": DATA, "architecture": architecture, "training": TRAINING, **sections}


def job_errors(**sections: Any) -> list[str]:
    return errors_of("#/components/schemas/JobRequest", body(**sections))


def schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas within it."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from schemas_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from schemas_in(each)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_suits_generators_of_clients(name: str) -> None:
    """A schema has a plain name, no defaults, titles of fields and `patternProperties`, and no null alone."""
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)
    assert not re.search(r"Inner|Response\d|[a-z]\d$", name)
    for schema in schemas_in({key: value for key, value in SCHEMAS[name].items() if key != "properties"}):
        assert not {"default", "patternProperties"} & schema.keys()
    for field in SCHEMAS[name].get("properties", {}).values():
        assert not {"default", "title"} & field.keys()
        assert field.get("type") != "null"


def test_every_success_has_a_schema() -> None:
    """Every 2xx with a body has a schema: binary for files, text for CSV and events."""
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                continue
            assert status == "204" or response["content"], name
            for media_type, content in response.get("content", {}).items():
                assert content["schema"], f"{name} {status} {media_type}"
                if "json" not in media_type:
                    assert content["schema"]["type"] == "string"


@pytest.mark.parametrize(
    ("name", "status", "headers"),
    [
        (
            "POST /v1/jobs",
            "202",
            {"ETag", "Location", "Retry-After", "Preference-Applied", "Idempotency-Replayed"},
        ),
        ("GET /v1/jobs/{job_id}", "200", {"ETag"}),
        ("GET /v1/jobs/{job_id}", "304", {"ETag"}),
        ("POST /v1/datasets", "201", {"Location"}),
        ("GET /v1/jobs/{job_id}/model", "200", {"Content-Disposition"}),
        ("POST /v1/jobs", "503", {"Retry-After"}),
    ],
)
def test_a_response_has_its_headers(name: str, status: str, headers: set[str]) -> None:
    """The document describes the headers of a response."""
    assert headers <= OPERATIONS[name]["responses"][status]["headers"].keys()


def test_links_lead_to_operations() -> None:
    """Each link of a response names an operation and one of its parameters."""
    parameters = {
        operation["operationId"]: {each["name"] for each in operation.get("parameters", ())}
        for operation in OPERATIONS.values()
    }
    links = [
        link
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert links
    for link in links:
        assert link["parameters"].keys() <= parameters[link["operationId"]]


def test_header_parameters_have_their_usual_case() -> None:
    """Header parameters are written as `Idempotency-Key`."""
    names = {
        parameter["name"]
        for operation in OPERATIONS.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    assert {"Idempotency-Key", "Prefer", "If-None-Match", "If-Match", "Last-Event-ID"} <= names
    assert [name for name in names if not re.fullmatch(r"([A-Z][A-Za-z]*)(-[A-Z][A-Za-z]*)*", name)] == []


def test_a_job_repeats_the_types_of_a_request() -> None:
    """The sections of a job have the schemas of a request's sections."""
    job, request = SCHEMAS["Job"]["properties"], SCHEMAS["JobRequest"]["properties"]
    for section in ("architecture", "training", "device", "engine", "precision"):
        assert job[section].get("$ref") == request[section].get("$ref"), section
    assert {"$ref": job["data"]["$ref"]} in SCHEMAS["DataSpec"]["oneOf"]


@pytest.mark.parametrize(
    "layers",
    [
        [{"type": "sequential", "layers": [LINEAR, {"type": "Tanh"}]}, LINEAR],
        [{"type": "module", "submodules": {"l": LINEAR}, "forward": "return self.l(x)"}],
        [{"type": "Dropout", "p": 0.5, "name": "drop"}],
    ],
    ids=["sequential", "module", "layer"],
)
def test_a_nested_architecture_is_valid(layers: list[Any]) -> None:
    """A container within a container matches exactly one alternative."""
    assert job_errors(architecture={"type": "sequential", "layers": layers}) == []


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        {"rows": [{"x": 0, "y": 1}, {"x": 1, "y": None}], "features": ["x"], "targets": ["y"]},
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}, "features": ["x"], "targets": ["x"]},
        {"inputs": [[0], [1]], "targets": [[1], [3]], "weights": [1, 0.5]},
        {"inputs": {"a": [[0], [1]], "b": [[[True]], [[False]]]}, "targets": [0, 1]},
        {"dataset_id": f"ds_{ID}", "features": ["x"], "targets": ["y"], "id": "name"},
        {"dataset_id": f"ds_{ID}"},
        {
            **DATA,
            "split": {"validation": 0.2, "test": 1},
            "transforms": [{"columns": "all", "type": "minmax"}],
        },
        {**DATA, "features": None, "feature_groups": {"a": ["x"]}},
    ],
)
def test_data_in_one_form_are_valid(data: dict[str, Any]) -> None:
    """Each form of the data matches exactly one alternative."""
    assert job_errors(data=data) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {**DATA, "rows": [{"x": 1}]}},
        {"data": {"features": ["x"], "targets": ["y"]}},
        {"data": {**DATA, "features": ["x"], "feature_groups": {"a": ["x"]}}},
        {"data": {"columns": {"x": [1]}, "targets": ["x"]}},
        {"data": {**DATA, "columns": {"x": [[1]]}}},
        {"data": {**DATA, "columns": {"x": 1}}},
        {"data": {**DATA, "columns": {}}},
        {"data": {**DATA, "features": ["x", "x"]}},
        {"data": {"inputs": [["a"]], "targets": "x"}},
        {"data": {"dataset_id": "3"}},
        {"architecture": {"type": "sequential", "layers": [{"type": "Tahn"}]}},
        {"architecture": {"type": "sequential", "layers": [{"out_features": 1}]}},
        {"architecture": LINEAR},
        {"training": {**TRAINING, "loss": "MSE"}},
        {"training": {**TRAINING, "loss": {"type": "MSE"}}},
        {"training": {**TRAINING, "optimizer": "adam"}},
        {"training": {**TRAINING, "scheduler": "StepsLR"}},
        {"training": {**TRAINING, "metrics": ["r2_score", "r2_score"]}},
        {"training": {**TRAINING, "metrics": ["r2"]}},
        {"training": {**TRAINING, "epochs": 2.5}},
        {"training": {**TRAINING, "from_job": "job"}},
        {"name": "a\0b"},
    ],
)
def test_a_request_that_the_service_refuses_is_invalid(sections: dict[str, Any]) -> None:
    """Other forms, names and numbers than the documented ones are invalid."""
    assert job_errors(**sections)


@pytest.mark.parametrize("name", ["PredictionRequest", "EvaluationRequest", "DatasetContent"])
def test_rows_have_exactly_one_form(name: str) -> None:
    """The rows of a body are in exactly one form, or are a list of objects."""
    reference = f"#/components/schemas/{name}"
    assert errors_of(reference, {"columns": {"x": [1, "a", None, True]}}) == []
    assert errors_of(reference, [{"x": 1}]) == []
    assert errors_of(reference, {})
    assert errors_of(reference, {"columns": {"x": [1]}, "rows": [{"x": 1}]})
    assert errors_of(reference, {"columns": None})


def test_a_default_is_told_in_the_description() -> None:
    """A default becomes a part of the description; null is not told."""
    assert publish({"type": "integer", "default": 10, "title": "A", "description": "Number."}) == {
        "type": "integer",
        "description": "Number. Default: `10`.",
    }
    assert publish({"type": "integer", "default": None}) == {"type": "integer"}
    assert publish({"properties": {"title": {"title": "Title"}}}) == {"properties": {"title": {}}}


def test_a_union_of_different_types_is_exact() -> None:
    """A union of different JSON types is `oneOf`; an optional value, and one of equal types, are `anyOf`."""
    text, number, null = ({"type": name} for name in ("string", "number", "null"))
    nested = {"anyOf": [{"anyOf": [text, number]}, null]}
    assert publish_components({"A": {"anyOf": [text, {"type": "integer"}, number]}}) == {
        "A": {"oneOf": [text, number]}
    }
    assert publish_components({"A": nested}) == {"A": {"oneOf": [text, number, null]}}
    assert publish_components({"A": {"anyOf": [text, null]}}) == {"A": {"anyOf": [text, null]}}
    equal = {"anyOf": [{**text, "minLength": 1}, {**text, "maxLength": 3}]}
    assert publish_components({"A": equal}) == {"A": equal}


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("include", ["", "values", "gradients, statistics", "values,,values"], ["value", "values;gradients"]),
        ("missing", ["-999", "-999,?"], ["", ",", "a,", ",a", "a,,b"]),
        ("units", ["kg", "$,€"], ["", "$,"]),
        ("delimiter", [";", "tab", "\\t", "\t", " ", "spaces", "comma"], ["", ";;", '"', "ä"]),
        ("job_id", ["job_01M8NG5FREGMYY99EYS7ZE63BW"], ["", "job_1", "ds_01M8NG5FREGMYY99EYS7ZE63BW"]),
        ("dataset_id", ["ds_01M8NG5FREGMYY99EYS7ZE63BW"], ["", "x"]),
        ("digest", [f"sha-256:{'0a' * 32}"], ["", f"sha-256:{'0A' * 32}", f"md5:{'0a' * 16}"]),
    ],
)
def test_parameters_have_the_patterns_of_their_values(
    name: str, valid: list[str], invalid: list[str]
) -> None:
    """What the service refuses of a parameter is invalid by the document, and the reverse."""
    schemas = [
        parameter["schema"]
        for operation in OPERATIONS.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == name
    ]
    assert schemas
    for schema in schemas:
        validator = Draft202012Validator(schema)
        assert all(map(validator.is_valid, valid))
        assert not any(map(validator.is_valid, invalid))
