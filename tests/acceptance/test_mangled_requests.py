"""Randomly changed requests: never a 5xx, never a hang, only pointers that exist."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.documents import exists
from tests.support.field_errors import assert_plain
from tests.support.fits import flowers, thermometer
from tests.support.server import Service

LAYERS = [
    {"type": "Linear", "out_features": 4},
    {"type": "BatchNorm1d"},
    {"type": "sequential", "layers": [{"type": "LeakyReLU"}, {"type": "Dropout", "p": 0.1}]},
    {"type": "Linear", "out_features": 1},
]
# A table with every column type and most transforms.
TABLE_WITH_MISSING_VALUES = {
    "columns": {
        "island": ["a", "b", None, "a", "b", "c", "a", "b"],
        "zip": [1, 2, 3, 1, 2, 3, 1, 2],
        "size": [0.1, None, 0.3, 0.4, 0.5, 0.6, 0.7, None],
        "when": [f"2026-11-{day}" for day in range(20, 28)],
        "set": ["train"] * 5 + ["validation", "validation", "test"],
        "y": [1.0, 2.0, 3.0, 4.0, 5.0, None, 7.0, 8.0],
    },
    "features": ["island", "zip", "size"],
    "targets": ["y"],
    "types": {"when": "datetime", "zip": "categorical"},
    "transforms": [
        {"columns": "categorical", "type": "impute", "strategy": "mode"},
        {"columns": ["island"], "type": "one_hot", "unknown": "zeros"},
        {"columns": ["zip"], "type": "ordinal", "unknown": "extra"},
        {"columns": ["size"], "type": "impute", "strategy": "mean", "indicator": True},
        {"columns": ["size"], "type": "clip", "min": 0.2, "max": 0.6},
        {"columns": ["y"], "type": "drop_rows"},
        {"columns": ["y"], "type": "standardize"},
    ],
}


def fit_with_missing_values(**split: Any) -> dict[str, Any]:
    """Return a request for a fit of columns of every type, with missing values."""
    return {
        **thermometer(LAYERS, epochs=2, metrics=["r2_score"]),
        "data": {**TABLE_WITH_MISSING_VALUES, "split": split},
    }


VALID = (
    fit_with_missing_values(time="when", validation=2),
    fit_with_missing_values(group="zip", test=0.3),
    fit_with_missing_values(column="set"),
    thermometer(
        LAYERS,
        epochs=3,
        batch_size=3,
        scheduler={"type": "StepLR", "step_size": 2},
        metrics=["r2_score"],
        early_stopping={"patience": 2},
        gradient_clip_norm=1.0,
    ),
    flowers(
        epochs=3,
        metrics=[{"type": "accuracy", "average": "macro"}],
        class_weights={"setosa": 1, "versicolor": 2, "virginica": 0.5},
    ),
)
# Values that may replace a value of a request.
KNOWN = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            2**31,
            2**63,
            2**64,
            10**30,
            1e-320,
            1e308,
            0.5,
            "",
            "auto",
            "\x00",
            "a/b~c",
        ),
        *("Linear", "Conv2d", "LSTM", "Embedding", "Softmax", "Bilinear", "MultiheadAttention", "sequential"),
        *(
            "MSELoss",
            "CrossEntropyLoss",
            "BCELoss",
            "KLDivLoss",
            "Adam",
            "Muon",
            "Rprop",
            "OneCycleLR",
            "CyclicLR",
        ),
        *(
            "accuracy",
            "auroc",
            "datetime",
            "categorical",
            "all",
            "one_hot",
            "ordinal",
            "impute",
            "drop_rows",
            "t_u",
            "t_c",
            "species",
            "numeric",
            "cuda",
            "validation_loss",
            [],
            {},
            [[]],
            [None],
        ),
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
# Copies, since a later change may modify a value that an earlier one inserted.
VALUES = (KNOWN | NESTED).map(copy.deepcopy)


def locations(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all nodes below the root."""
    if isinstance(document, dict):
        children = list(document.items())
    elif isinstance(document, list):
        children = list(enumerate(document))[:4]
    else:
        children = []
    return [
        location for key, value in children for location in ((*path, key), *locations(value, (*path, key)))
    ]


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """Draw a valid request with one to three nodes dropped, replaced, duplicated or added."""
    body = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        available = locations(body)
        if not available:
            break
        *path, key = draw(st.sampled_from(available))
        here = body
        for part in path:
            here = here[part]
        change = draw(st.sampled_from(["replace", "replace", "replace", "drop", "double", "add"]))
        if change == "replace":
            here[key] = draw(VALUES)
        elif change == "drop":
            del here[key]
        elif isinstance(here, list):
            here.insert(key, copy.deepcopy(here[key]) if change == "double" else draw(VALUES))
        else:
            here[draw(st.sampled_from(["name", "type", "bias", "x"]) | st.text(max_size=8))] = draw(VALUES)
    return body


@pytest.mark.parametrize("body", VALID)
def test_requests_are_valid_before_the_changes(service: Service, body: Any) -> None:
    """Each request is accepted before it is changed."""
    response = service.submit(body, validate_only=True)
    assert response.status_code == 200, response.text


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(body=mangled())
def test_a_mangled_job_is_answered(service: Service, body: Any) -> None:
    """A changed request is refused with existing pointers or becomes a job that ends."""
    response = service.submit(body, validate_only=True)
    assert response.status_code in (200, 400, 422), response.text
    submitted = service.submit(body)
    if response.status_code == 200:
        assert submitted.status_code == 202, submitted.text
        (job,) = service.cancelled(submitted.json()["id"])
        # A job that passed preflight must train; it may only fail by divergence.
        assert job["status"] in ("succeeded", "cancelled") or job["stop_reason"] == "diverged", job["error"]
        return
    assert submitted.status_code == response.status_code
    assert submitted.json()["errors"] == response.json()["errors"]
    assert_plain(response.json())
    if response.status_code == 422:
        assert response.json()["errors"]
        for error in response.json()["errors"]:
            assert exists(body, error["pointer"]) or error["detail"].endswith("is required."), error


@pytest.fixture(scope="module")
def trained(service: Service) -> dict[str, str]:
    """Train a classifier and return its links."""
    return dict(service.succeeded(flowers(epochs=3))["links"])


ROWS = (
    {"inputs": [[1.4, 5.1], [4.7, 7.0]]},
    {"columns": {"petal": [1.4, 4.7], "sepal": [5.1, 7.0], "species": ["setosa", "versicolor"]}},
    {
        "rows": [
            {"petal": 1.4, "sepal": 5.1, "species": "setosa"},
            {"petal": 4.7, "sepal": 7.0, "species": "versicolor"},
        ]
    },
)


@st.composite
def mangled_rows(draw: st.DrawFn) -> Any:
    """Draw rows for predictions or evaluations with one node replaced."""
    body = copy.deepcopy(draw(st.sampled_from(ROWS)))
    *path, key = draw(st.sampled_from(locations(body)))
    here: Any = body
    for part in path:
        here = here[part]
    here[key] = draw(VALUES)
    return body


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(body=mangled_rows(), accept=st.sampled_from(["application/json", "text/csv"]))
def test_mangled_rows_are_answered(service: Service, trained: dict[str, str], body: Any, accept: str) -> None:
    """Changed rows are accepted or refused with existing pointers, also as a dataset."""
    predicted = service.client.post(trained["predictions"], json=body, headers={"Accept": accept})
    evaluated = service.client.post(trained["evaluations"], json=body)
    uploaded = service.client.post("/v1/datasets", json=body)
    for answer in (predicted, evaluated, uploaded):
        assert answer.status_code in (200, 201, 400, 422), answer.text
        if answer.status_code == 422:
            assert_plain(answer.json())
            for error in answer.json()["errors"]:
                assert exists(body, error["pointer"]) or error["detail"].endswith("is required."), error


def test_any_csv_is_answered(service: Service) -> None:
    """Unusual CSV is accepted or refused."""
    pieces = [
        "a",
        "1",
        ",",
        "\n",
        '"',
        ";",
        "\r\n",
        "\x00",
        "é",
        "\t",
        "|",
        "nan",
        "1e999",
        " ",
        "a,b\n1,2\n",
    ]
    for combination in itertools.islice(itertools.product(pieces, repeat=3), 0, None, 37):
        content = "".join(combination).encode()
        response = service.client.post("/v1/datasets", content=content, headers={"Content-Type": "text/csv"})
        assert response.status_code in (200, 201, 422), (content, response.text)
