"""The contract of error responses: one shape, all errors at once, valid pointers, a 4xx for any request."""

import json
from typing import Any

import pytest

from tests.support.documents import changed, exists
from tests.support.fits import thermometer
from tests.support.problems import problem
from tests.support.server import Service

JSON = {"Content-Type": "application/json"}
MISSING = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
LAYER = "#/architecture/layers/0"
TYPE_REQUIRED = "`type` is required; it determines the other fields."
COLUMN = "#/data/columns/t_u"


def errors_of(service: Service, body: Any) -> dict[str, str]:
    """Submit an invalid job; return the details of its errors by pointer."""
    errors = problem(service.submit(body, validate_only=True), 422, "invalid-request")
    submitted = problem(service.submit(body), 422, "invalid-request")
    assert submitted == errors
    for error in errors:
        assert exists(body, error["pointer"]) or error["detail"].endswith("is required."), error
    return {error["pointer"]: error["detail"] for error in errors}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"training": {"epochs": -1e999}}',
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    ],
    ids=lambda value: str(value[:24]),
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?validate_only=true", "/v1/datasets"])
def test_a_body_that_is_not_json_is_400(service: Service, path: str, body: bytes) -> None:
    """Broken JSON, NaN, numbers out of range and excessive nesting are answered with 400."""
    assert problem(service.client.post(path, content=body, headers=JSON), 400, "not-json") == []


@pytest.mark.parametrize("body", [b"{", b'{"inputs": [[NaN]]}', b"[" * 200_000], ids=["open", "NaN", "deep"])
def test_a_prediction_body_that_is_not_json_is_400(service: Service, body: bytes) -> None:
    """Predictions refuse bodies that are not JSON with 400."""
    job = service.succeeded(thermometer(epochs=1))
    response = service.client.post(job["links"]["predictions"], content=body, headers=JSON)
    problem(response, 400, "not-json")


@pytest.mark.parametrize("depth", [100, 300, 900, 1000])
def test_deep_json_that_parses_is_an_invalid_request(service: Service, depth: int) -> None:
    """Deep nesting anywhere, with or without an idempotency key, is answered with 422 or 400, never 5xx."""
    nested, mark = b"[" * depth + b"1" + b"]" * depth, "@nested"
    headers = {**JSON, "Idempotency-Key": f"deep {depth}"}
    pointers = (COLUMN, "#/data/columns", f"{LAYER}/in_features", "#/architecture/layers", "#/training/loss")
    for body in [mark, *(changed(thermometer(), pointer, mark) for pointer in pointers)]:
        content = json.dumps(body).encode().replace(b'"@nested"', nested)
        for sent in (JSON, headers):
            response = service.client.post("/v1/jobs", content=content, headers=sent)
            assert response.status_code in (400, 422), response.text
    for form in (
        b'{"inputs": %b}',
        b'{"inputs": [[1]], "targets": %b}',
        b'{"columns": {"x": %b}}',
        b'{"rows": %b}',
    ):
        response = service.client.post("/v1/datasets", content=form % nested, headers=JSON)
        assert response.status_code in (200, 201, 400, 422), response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/jobs/{MISSING}"),
        ("DELETE", f"/v1/jobs/{MISSING}"),
        ("POST", f"/v1/jobs/{MISSING}/cancel"),
        ("GET", f"/v1/jobs/{MISSING}/history"),
        ("GET", f"/v1/jobs/{MISSING}/named_parameters"),
        ("GET", f"/v1/jobs/{MISSING}/named_parameters/0.weight"),
        ("POST", f"/v1/jobs/{MISSING}/predictions"),
        ("GET", f"/v1/jobs/{MISSING}/model"),
        ("GET", "/v1/jobs/%00"),
        ("GET", "/v1/jobs/..%2F..%2Fetc"),
    ],
)
def test_an_unknown_job_is_404(service: Service, method: str, path: str) -> None:
    """Every URL of a job that does not exist is answered with 404."""
    content = b'{"inputs": [[1.0]]}' if path.endswith("predictions") else None
    response = service.client.request(method, path, content=content)
    assert response.status_code == 404
    assert response.json()["type"] in ("/problems/job-not-found", "/problems/not-found")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/rows")])
def test_an_unknown_dataset_is_404(service: Service, method: str, path: str) -> None:
    """Every URL of a dataset that does not exist is answered with 404."""
    problem(service.client.request(method, f"/v1/datasets/ds_missing{path}"), 404, "dataset-not-found")


def test_an_unknown_parameter_is_404_with_a_suggestion(service: Service) -> None:
    """A misspelt parameter name is answered with the name that is similar."""
    job = service.succeeded(thermometer(epochs=1))
    response = service.client.get(f"{job['links']['named_parameters']}/0.wieght")
    problem(response, 404, "parameter-not-found")
    assert "did you mean `0.weight`?" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/jobs/x/nothing", "/v2/jobs", "/problems/nothing"])
def test_an_unknown_url_is_404(service: Service, path: str) -> None:
    """An unknown URL is answered with a problem in the common shape."""
    response = service.client.get(path)
    assert response.json()["type"] in ("/problems/not-found", "/problems/problem-type-not-found")
    problem(response, 404, response.json()["type"].rsplit("/", 1)[1])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", {"GET", "HEAD", "POST"}),
        ("DELETE", "/v1/datasets", {"GET", "HEAD", "POST"}),
        ("POST", f"/v1/jobs/{MISSING}", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("GET", f"/v1/jobs/{MISSING}/cancel", {"POST"}),
        ("PATCH", "/livez", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_405(service: Service, method: str, path: str, allowed: set[str]) -> None:
    """A method that the URL does not support is answered with 405 and the supported ones in `Allow`."""
    response = service.client.request(method, path)
    problem(response, 405, "method-not-allowed")
    assert {each.strip() for each in response.headers["Allow"].split(",")} == allowed | {"OPTIONS"}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets"])
def test_a_large_body_is_413(narrow_service: Service, path: str) -> None:
    """A body over the limit is refused, with a declared length or streamed."""
    body = b'{"columns": {"x": [' + b"1," * 100_000 + b"1]}}"
    problem(narrow_service.client.post(path, content=body, headers=JSON), 413, "content-too-large")

    def stream() -> Any:
        for start in range(0, len(body), 4096):
            yield body[start : start + 4096]

    problem(narrow_service.client.post(path, content=stream(), headers=JSON), 413, "content-too-large")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/v1/jobs", "text/csv"),
        ("/v1/jobs", "text/plain"),
        ("/v1/jobs", "application/x-www-form-urlencoded"),
        ("/v1/datasets", "text/html"),
        (f"/v1/jobs/{MISSING}/predictions", "text/html"),
    ],
)
def test_another_media_type_is_415(service: Service, path: str, media_type: str) -> None:
    """A body of an unsupported media type is refused with the supported ones."""
    response = service.client.post(path, content=b"{}", headers={"Content-Type": media_type})
    problem(response, 415, "unsupported-media-type")
    assert "application/json" in response.json()["detail"]


def test_json_with_a_charset_is_json(service: Service) -> None:
    """Parameters of the media type are ignored."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = service.client.post("/v1/datasets", content=b'{"columns": {"q": [1]}}', headers=headers)
    assert response.status_code in (200, 201)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/jobs?page_sise=3", "page_sise"),
        ("/v1/jobs?name=%00", "name"),
        ("/v1/jobs?page_size=many", "page_size"),
        ("/v1/jobs?page_size=0", "page_size"),
        ("/v1/jobs?page_size=1001", "page_size"),
        ("/v1/jobs?status=done", "status"),
        ("/v1/jobs?page_token=nonsense", "page_token"),
        ("/v1/datasets?offset=3", "offset"),
        ("/v1/datasets?page_token=%00", "page_token"),
        ("/v1/jobs/x/history?every=0", "every"),
        ("/v1/jobs/x/history?evry=10", "evry"),
        ("/v1/jobs/x/history?max_points=1", "max_points"),
        (f"/v1/jobs/x/history?from_epoch={2**63}", "from_epoch"),
        (f"/v1/jobs/x/split?offset={2**64}", "offset"),
        (f"/v1/datasets/x/rows?offset={2**64}", "offset"),
        ("/v1/jobs/x/named_parameters?include=everything", "include"),
        ("/v1/jobs/x/named_parameters?checkpoint=first", "checkpoint"),
        ("/v1/jobs/x/model?format=pickle", "format"),
        ("/v1/jobs/x?verbose=true", "verbose"),
        ("/v1/system?verbose=true", "verbose"),
        ("/v1/catalog?type=Linear", "type"),
    ],
)
def test_a_wrong_query_parameter_is_named(service: Service, path: str, name: str) -> None:
    """Unknown query parameters and values out of range are answered with 422 and the parameter's name."""
    (error,) = problem(service.client.get(path), 422, "invalid-request")
    assert name in error["pointer"]


def test_a_name_has_no_nul(service: Service) -> None:
    """A NUL in a name is an error on every database, since Postgres cannot store it."""
    errors = errors_of(service, {**thermometer(), "name": "a\0b"})
    assert errors == {"#/name": "Contains the character NUL; remove it."}
    (error,) = problem(service.client.post("/v1/datasets?name=a%00", json={}), 422, "invalid-request")
    assert error["pointer"] == "?name"


def test_a_misspelt_query_parameter_has_a_suggestion(service: Service) -> None:
    """A misspelt query parameter is answered with the name that is similar."""
    (error,) = problem(service.client.get("/v1/jobs?page_sise=3"), 422, "invalid-request")
    assert "did you mean `page_size`?" in error["detail"]


@pytest.mark.parametrize(
    ("pointer", "value", "prefix", "words"),
    [
        ("#/training/epoch", 3, "#/training/epoch", "did you mean `epochs`?"),
        ("#/architecture/layers/0/in_feature", 1, f"{LAYER}/in_feature", "did you mean `in_features`?"),
        ("#/architecture/layers/0/type", "Linaer", LAYER, "did you mean `Linear`?"),
        ("#/training/loss", "MSELos", "#/training/loss", "did you mean `MSELoss`?"),
        ("#/training/optimizer/type", "Adan", "#/training/optimizer", "did you mean `Adam`?"),
        ("#/training/optimizer/momentun", 0.9, "#/training/optimizer/momentun", "did you mean `momentum`?"),
        ("#/data/featurs", ["t_u"], "#/data/featurs", "did you mean `features`?"),
        ("#/data/features", ["t_v"], "#/data/features/0", "did you mean `t_u`?"),
        ("#/data/split/validaton", 0.1, "#/data/split/validaton", "did you mean `validation`?"),
        ("#/trainig", {}, "#/trainig", "did you mean `training`?"),
        ("#/training/metrics", ["acuracy"], "#/training/metrics/0", "did you mean `accuracy`?"),
        ("#/training/scheduler", "StepRL", "#/training/scheduler", "did you mean `StepLR`?"),
    ],
)
def test_a_misspelt_name_has_a_suggestion(
    service: Service, pointer: str, value: Any, prefix: str, words: str
) -> None:
    """Unknown fields and names are reported at their pointer, with the known name that is similar."""
    errors = errors_of(service, changed(thermometer(), pointer, value))
    assert [each for found, each in errors.items() if found.startswith(prefix) and words in each], errors


@pytest.mark.parametrize(
    ("pointer", "value", "error", "detail"),
    [
        (
            "#/architecture",
            {"layers": []},
            "#/architecture",
            '`type` is required: write "type": "sequential".',
        ),
        ("#/data/transforms", [{"columns": ["t_u"]}], "#/data/transforms/0", TYPE_REQUIRED),
        ("#/architecture", 3, "#/architecture", "Should be an object."),
        ("#/architecture/layers", [3], "#/architecture/layers/0", "Should be an object."),
        ("#/training/class_weights", 3, "#/training/class_weights", "Should be an object."),
    ],
)
def test_a_missing_type_is_reported_in_terms_of_json(
    service: Service, pointer: str, value: Any, error: str, detail: str
) -> None:
    """A missing type, or a value that is no object, is reported without terms of the validation library."""
    assert errors_of(service, changed(thermometer(), pointer, value))[error] == detail


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("#/training/epochs", -1),
        ("#/training/epochs", 2.5),
        ("#/training/epochs", "3"),
        ("#/training/epochs", True),
        ("#/training/epochs", None),
        ("#/training/epochs", 10**30),
        ("#/training/seed", -1),
        ("#/training/seed", 2**64),
        ("#/training/batch_size", 0),
        ("#/training/batch_size", 1.5),
        ("#/training/shuffle", "yes"),
        ("#/training/gradient_clip_norm", 0),
        ("#/training/max_runtime_seconds", 0),
        ("#/training/optimizer/lr", -1.0),
        ("#/training/optimizer/lr", "0.1"),
        ("#/training/loss", {"type": "MSELoss", "reduction": "sum"}),
        ("#/training/loss", "CTCLoss"),
        ("#/training/optimizer", "LBFGS"),
        ("#/training/scheduler", {"type": "StepLR"}),
        ("#/training/early_stopping", {"patience": 0}),
        ("#/training/early_stopping", {"monitor": "validation_accuracy"}),
        ("#/data/split/validation", 1.5),
        ("#/data/split/validation", 11),
        ("#/data/split/validation", 0.01),
        ("#/data/split/validation", -0.2),
        ("#/data/features", []),
        ("#/data/features", ["t_u", "t_u"]),
        ("#/data/columns/t_u", [1.0, 2.0]),
        ("#/data/columns/t_u", ["warm", *[1.0] * 10]),
        ("#/data/columns/t_u", [None] * 11),
        ("#/data/columns/t_u", []),
        ("#/data/columns", {}),
        ("#/data/transforms/0/factor", 0),
        ("#/data/transforms/0/type", "sale"),
        ("#/data/transforms/0/columns", ["t_w"]),
        ("#/architecture/layers", []),
        ("#/architecture/layers/0/out_features", 0),
        ("#/architecture/layers/0/out_features", -1),
        ("#/architecture/layers/0/out_features", 10**18),
        ("#/architecture/layers/0/out_features", 2.5),
        ("#/architecture/layers/0/name", "a.b"),
        ("#/architecture/type", "sequence"),
        ("#/device", "gpu"),
        ("#/device", "cuda"),
        ("#/engine", "fast"),
        ("#/precision", "float16"),
        ("#/name", 3),
    ],
)
def test_a_wrong_value_is_reported_at_its_pointer(service: Service, pointer: str, value: Any) -> None:
    """A wrong value is answered with 422 and one error in its section."""
    errors = errors_of(service, changed(thermometer(), pointer, value))
    section = pointer.split("/")[1]
    assert all(found.startswith(f"#/{section}") for found in errors), errors
    assert len(errors) == 1, errors


@pytest.mark.parametrize("section", ["data", "architecture", "training"])
def test_a_missing_section_is_reported(service: Service, section: str) -> None:
    """A missing section is reported by its name."""
    body = thermometer()
    del body[section]
    errors = errors_of(service, body)
    assert errors == {f"#/{section}": f"`{section}` is required."}


@pytest.mark.parametrize("body", [b"[]", b'"job"', b"3", b"null", b"{}", b"[{}]", b"true"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?validate_only=true", "/v1/datasets"])
def test_json_that_is_no_request_is_422(service: Service, path: str, body: bytes) -> None:
    """A JSON value that is no job or dataset is answered with 422."""
    assert problem(service.client.post(path, content=body, headers=JSON), 422, "invalid-request")


def test_all_errors_are_reported_at_once(service: Service) -> None:
    """The errors of all sections are reported together, each with its pointer."""
    body = thermometer()
    body["nmae"] = "x"
    body["device"] = "cuda:7"
    body["data"]["columns"]["t_u"][3] = "hot"
    body["data"]["split"]["validation"] = 99
    body["data"]["features"] = ["t_u", "t_x"]
    body["architecture"]["layers"] = [
        {"type": "Linaer", "out_features": 3},
        {"type": "Linear", "out_features": "many"},
        {"type": "LeakyReLU", "slope": 0.1},
    ]
    body["training"] |= {
        "loss": "MSE",
        "optimizer": {"type": "SGD", "lr": "x"},
        "epochs": -1,
        "metrics": ["nope"],
    }
    errors = errors_of(service, body)
    expected = {
        "#/nmae",
        "#/data/columns/t_u/3",
        "#/architecture/layers/0",
        "#/architecture/layers/1/out_features",
        "#/architecture/layers/2/slope",
        "#/training/epochs",
    }
    assert expected <= {pointer.removesuffix("/type") for pointer in errors}, errors


def test_errors_of_valid_sections_are_reported_at_once(service: Service) -> None:
    """Names, columns, arguments and placement are checked together if every section has a valid form."""
    body = thermometer()
    body["device"] = "cuda:7"
    body["data"]["features"] = ["t_x"]
    body["data"]["split"] = {"validation": 99}
    body["architecture"]["layers"] = [{"type": "Linaer"}, {"type": "LeakyReLU", "slope": 0.1}]
    body["training"] |= {"optimizer": {"type": "SGD", "lr": "x"}, "metrics": ["nope"], "scheduler": "StepLR"}
    errors = errors_of(service, body)
    prefixes = (
        "#/device",
        "#/data/features/0",
        "#/data/split",
        "#/architecture/layers/0",
        "#/architecture/layers/1/slope",
        "#/training/optimizer/lr",
        "#/training/metrics/0",
        "#/training/scheduler",
    )
    for prefix in prefixes:
        assert any(pointer.startswith(prefix) for pointer in errors), (prefix, errors)


@pytest.mark.parametrize(
    ("training", "prefix"),
    [
        ({"optimizer": "Adan"}, "#/training/optimizer"),
        ({"loss": "MSELos"}, "#/training/loss"),
        ({"epochs": -1}, "#/training/epochs"),
    ],
    ids=["optimizer", "loss", "epochs"],
)
def test_sections_are_checked_independently(service: Service, training: dict[str, Any], prefix: str) -> None:
    """A layer that does not accept its input is reported beside an error in the training section."""
    errors = errors_of(
        service, thermometer([{"type": "Linear", "in_features": 3, "out_features": 1}], **training)
    )
    assert any(pointer.startswith(LAYER) for pointer in errors), errors
    assert any(pointer.startswith(prefix) for pointer in errors), errors


def test_a_last_batch_of_one_row_is_an_invalid_request(service: Service) -> None:
    """`BatchNorm1d` with a last batch of one row, here 9 rows in batches of 4, is an invalid request."""
    layers = [
        {"type": "Linear", "out_features": 4},
        {"type": "BatchNorm1d"},
        {"type": "Linear", "out_features": 1},
    ]
    assert errors_of(service, thermometer(layers, batch_size=4))


@pytest.mark.parametrize(
    ("layers", "training"),
    [
        ([{"type": "Sigmoid"}], {"loss": "BCELoss"}),
        ([], {"loss": "BCEWithLogitsLoss", "metrics": ["precision"]}),
        ([], {"loss": "MultiLabelMarginLoss"}),
        ([], {"loss": {"type": "SmoothL1Loss", "beta": -0.1}}),
        ([{"type": "Softmax"}, {"type": "CELU", "inplace": True}], {}),
    ],
    ids=[
        "targets beyond 0 and 1",
        "metric of 0 and 1",
        "targets beyond the labels",
        "negative beta",
        "in place",
    ],
)
def test_a_job_whose_first_step_would_fail_is_an_invalid_request(
    service: Service, layers: list[dict[str, Any]], training: dict[str, Any]
) -> None:
    """A request whose first step PyTorch would refuse for any parameters is invalid."""
    assert errors_of(service, thermometer([{"type": "Linear", "out_features": 1}, *layers], **training))


def test_a_wrong_shape_names_the_layer_and_both_shapes(service: Service) -> None:
    """A layer whose input has the wrong width is reported with the expected and the actual shape."""
    layers = [
        {"type": "Linear", "in_features": 1, "out_features": 13},
        {"type": "Tanh"},
        {"name": "out", "type": "Linear", "in_features": 12, "out_features": 1},
    ]
    errors = errors_of(service, thermometer(layers))
    ((pointer, detail),) = errors.items()
    assert pointer.startswith("#/architecture/layers/2")
    assert "13]" in detail
    assert "12]" in detail
    assert "out" in detail


def test_too_few_classes_name_both_sizes(service: Service) -> None:
    """A classifier with fewer outputs than classes is reported with both numbers."""
    body = thermometer(loss="CrossEntropyLoss")
    body["data"]["columns"]["t_c"] = [0, 1, 2] * 3 + [0, 1]
    ((pointer, detail),) = errors_of(service, body).items()
    assert pointer == "#/training/loss"
    assert "3 classes" in detail
    assert "[B, 1]" in detail


def test_pointers_are_escaped(service: Service) -> None:
    """The pointer to a column named `a/b~c` is escaped as RFC 6901 requires."""
    body = thermometer()
    body["data"]["columns"]["a/b~c"] = [1.0, {}, *[2.0] * 9]
    assert list(errors_of(service, body)) == ["#/data/columns/a~1b~0c/1"]


def test_problem_types_have_a_page(service: Service) -> None:
    """The `type` of a problem is the URL of a page, and `/problems` links to all of them."""
    index = service.client.get("/problems")
    assert index.headers["Content-Type"].startswith("text/html")
    for slug in ("not-json", "job-not-found", "invalid-request", "queue-full", "training-diverged"):
        assert f'href="/problems/{slug}"' in index.text
        page = service.client.get(f"/problems/{slug}")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")


def test_an_idempotency_key_has_a_limited_length(service: Service) -> None:
    """An empty idempotency key and one of 256 characters are refused."""
    for key in ("", '""', "k" * 256):
        response = service.submit(thermometer(), headers={"Idempotency-Key": key})
        problem(response, 422, "invalid-request")
