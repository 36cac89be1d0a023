"""Requests that went wrong in any way are answered: never 5xx, never a hang, pointers that exist."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.documents import exists
from tests.support.fits import flowers, thermometer
from tests.support.server import Service

LAYERS = [
    {"type": "Linear", "out_features": 4},
    {"type": "BatchNorm1d"},
    {"type": "sequential", "layers": [{"type": "LeakyReLU"}, {"type": "Dropout", "p": 0.1}]},
    {"type": "Linear", "out_features": 1},
]
# A table with everything in it, and what its columns can be asked to become.
GAPPY = {
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


def gappy(**split: Any) -> dict[str, Any]:
    """A fit of columns of every type, with gaps, divided by a rule."""
    return {**thermometer(LAYERS, epochs=2, metrics=["r2_score"]), "data": {**GAPPY, "split": split}}


VALID = (
    gappy(time="when", validation=2),
    gappy(group="zip", test=0.3),
    gappy(column="set"),
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
# Values a request may have somewhere, in the place of another.
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
# Copies, since a later change may change a value that was put in by an earlier one.
VALUES = (KNOWN | NESTED).map(copy.deepcopy)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes below the root."""
    if isinstance(document, dict):
        children = list(document.items())
    elif isinstance(document, list):
        children = list(enumerate(document))[:4]
    else:
        children = []
    return [place for key, value in children for place in ((*path, key), *places(value, (*path, key)))]


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """A valid request with one to three nodes dropped, replaced, doubled or added."""
    body = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        available = places(body)
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
def test_what_is_mangled_was_right(service: Service, body: Any) -> None:
    """A request that was refused from the first would show nothing."""
    response = service.submit(body, validate_only=True)
    assert response.status_code == 200, response.text


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(body=mangled())
def test_a_mangled_job_is_answered(service: Service, body: Any) -> None:
    """A request with random changes is checked to the end; a valid one becomes a job that ends."""
    response = service.submit(body, validate_only=True)
    assert response.status_code in (200, 400, 422), response.text
    submitted = service.submit(body)
    if response.status_code == 200:
        assert submitted.status_code == 202, submitted.text
        (job,) = service.cancelled(submitted.json()["id"])
        # What preflight passed must train: the only failure left is one of the numbers.
        assert job["status"] in ("succeeded", "cancelled") or job["stop_reason"] == "diverged", job["error"]
        return
    assert submitted.status_code == response.status_code
    assert submitted.json()["errors"] == response.json()["errors"]
    if response.status_code == 422:
        assert response.json()["errors"]
        for error in response.json()["errors"]:
            assert exists(body, error["pointer"]), error


@pytest.fixture(scope="module")
def trained(service: Service) -> dict[str, str]:
    """The links of a trained classifier."""
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
    """Rows to predict for or to evaluate on, with one node replaced."""
    body = copy.deepcopy(draw(st.sampled_from(ROWS)))
    *path, key = draw(st.sampled_from(places(body)))
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
    """Rows with random changes are predicted for and evaluated, or told what is wrong, as a dataset too."""
    predicted = service.client.post(trained["predictions"], json=body, headers={"Accept": accept})
    evaluated = service.client.post(trained["evaluations"], json=body)
    uploaded = service.client.post("/v1/datasets", json=body)
    for answer in (predicted, evaluated, uploaded):
        assert answer.status_code in (200, 201, 400, 422), answer.text
        if answer.status_code == 422:
            for error in answer.json()["errors"]:
                assert exists(body, error["pointer"]), error


def test_csv_of_any_kind_is_answered(service: Service) -> None:
    """Odd CSV is read or refused."""
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
