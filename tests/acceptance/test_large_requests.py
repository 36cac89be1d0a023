"""Requests much larger, or more repetitive, than any model: small answers with all errors counted."""

from typing import Any

import pytest

from tests.support.field_errors import assert_plain
from tests.support.server import Service

MAX_ANSWER_BYTES = 50_000
LINEAR = {"type": "Linear", "out_features": 1}


def fit(**sections: Any) -> dict[str, Any]:
    """Return a request for a fit of two rows; `sections` are merged into its sections."""
    request: dict[str, Any] = {
        "data": {"columns": {"x": [0, 1], "y": [0, 1]}, "features": ["x"], "targets": ["y"]},
        "architecture": {"type": "sequential", "layers": [LINEAR]},
        "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
    }
    for name, section in sections.items():
        request[name] = {**request[name], **section}
    return request


MISSPELT = fit(
    data={
        "columns": {"x": [0, 1], "y": [0, 1], **{f"col{number}": [0, 1] for number in range(2_000)}},
        "features": [f"kol{number}" for number in range(2_000)],
    }
)
SHARED_TUPLES = {
    **fit(),
    "architecture": {
        "type": "module",
        "submodules": {"l": LINEAR},
        "forward": "\n".join(["n=(1,1)", *["n=(n,n)"] * 22, "return self.l(x)"]),
    },
}
CLIP = {"type": "clip", "columns": ["x"], "min": 0, "max": 9}


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (SHARED_TUPLES, "1 error"),
        (MISSPELT, "2,000 errors: 100 are listed, and there are 1,900 further errors"),
        ({**fit(), **{f"k{number}": 0 for number in range(40_000)}}, "39,900 further errors"),
        (fit(training={f"k{number}": 0 for number in range(5_000)}), "4,900 further errors"),
        (fit(data={"transforms": [CLIP] * 30_000}), "1 error"),
        (fit(architecture={"layers": [{"type": "Tanh"}, *[LINEAR] * 9_989]}), "1 error"),
        (fit(data={"targets": ["y" * 5_000]}), "1 error"),
    ],
    ids=["tuples", "names", "keys", "keys of training", "transforms", "layers", "long name"],
)
def test_a_large_request_has_a_small_answer(service: Service, request_: Any, detail: str) -> None:
    """All errors are counted, and the first hundred are listed."""
    response = service.client.post("/v1/jobs", params={"validate_only": True}, json=request_)
    assert response.status_code == 422
    assert detail in response.json()["detail"]
    assert len(response.content) < MAX_ANSWER_BYTES
    assert_plain(response.json())


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/system"])
def test_many_query_parameters_have_a_small_answer(service: Service, path: str) -> None:
    """Unknown, repeated and not supported parameters are counted."""
    response = service.client.get(f"{path}?{'&'.join(f'q{number}=1' for number in range(2_000))}")
    assert response.status_code == 422
    assert "1,900 further errors" in response.json()["detail"]
    assert len(response.content) < MAX_ANSWER_BYTES


def test_an_architecture_of_a_thousand_layers_is_accepted(service: Service) -> None:
    """The limit of layers is above the models that people train."""
    request = fit(architecture={"layers": [LINEAR] * 1_000})
    response = service.client.post("/v1/jobs", params={"validate_only": True}, json=request)
    assert response.status_code == 200
    assert response.json()["parameter_count"] == 2_000


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("units=3", "?units.0"),
        ("decimal=,&thousands=,", "?"),
        (f"missing={','.join(['a'] * 2_000)}", "?missing"),
        ("&".join(["dates=%25d.%25m.%25Y"] * 200), "?dates"),
        (f"types={','.join(f'c{number}:numeric' for number in range(1_000))}", "?types"),
    ],
    ids=["unit", "signs", "missing", "dates", "types"],
)
def test_reading_options_in_a_query_are_checked(service: Service, query: str, pointer: str) -> None:
    """Options that a body may not have either are errors of the parameter."""
    content = {"content": "x,y\n1,2\n", "headers": {"Content-Type": "text/csv"}}
    response = service.client.post(f"/v1/datasets?{query}", **content)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert len(response.content) < MAX_ANSWER_BYTES
