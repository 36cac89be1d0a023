"""Indices that an embedding doesn't have, at predictions and evaluations."""

from typing import Any

import pytest

from service.datasets.sources.json import read_json
from service.inference.evaluations import evaluate
from service.inference.model import TrainedModel
from tests.support.field_errors import refusal
from tests.support.trained import prediction, train

IDS = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
EMBEDDING = [
    {"type": "Embedding", "num_embeddings": 6, "embedding_dim": 2},
    {"type": "Flatten"},
    {"type": "Linear", "in_features": 4, "out_features": 1},
]
RANGE = "and layer `0` (Embedding) has the indices 0 to 5."


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """A model that embeds two columns."""
    columns = {"a": IDS, "b": IDS[::-1], "t": IDS}
    section = {"columns": columns, "features": ["a", "b"], "targets": ["t"], "dtypes": {"input": "int64"}}
    return train(section, EMBEDDING).model()


def test_bad_rows_are_an_error_with_the_valid_range(model: TrainedModel) -> None:
    """An index outside of the range is reported with column, row, value and range."""
    body = {"columns": {"a": [0, 6, 1, -1], "b": [1, 2, 3, 4]}}
    expected = {"#/columns/a/1": f"`a` in row 1 is 6, {RANGE} The same is wrong in row 3."}
    assert refusal(lambda: prediction(model, body)) == expected
    assert refusal(lambda: prediction(model, read_json(body))) == expected
    labelled = {"columns": {**body["columns"], "t": [1, 2, 3, 4]}}
    assert refusal(lambda: evaluate(model, labelled, worst=1)) == expected
    rows = {"rows": [{"a": 0, "b": 1}, {"a": 1, "b": 9}]}
    assert refusal(lambda: prediction(model, rows)) == {"#/rows/1/b": f"`b` in row 1 is 9, {RANGE}"}
    assert prediction(model, {"columns": {"a": [0], "b": [5]}})["outputs"]


def test_tensors_are_named_by_their_input() -> None:
    """The error of tensors names the input."""
    data: dict[str, Any] = {
        "inputs": [[0, 1], [2, 3]],
        "targets": [[1.0], [2.0]],
        "dtypes": {"input": "int64"},
    }
    found = refusal(lambda: prediction(train(data, EMBEDDING).model(), {"inputs": [[0, 1], [2, 7]]}))
    assert found == {"#/inputs": f"`input` in row 1 is 7, {RANGE}"}
