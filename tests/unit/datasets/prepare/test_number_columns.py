"""Rows of plain numbers are read as all others, only quicker."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.number_columns import read_numbers
from tests.support.encoded import encoded_inputs, encoding_of
from tests.support.field_errors import refusal

TRAINING: dict[str, list[Any]] = {"a": [1.5, 2, 3, 4], "b": [1, 0, 2, 1], "y": [1, 2, 3, 4]}
TRANSFORMS: list[dict[str, Any]] = [
    {"type": "scale", "columns": ["a"], "factor": 0.1},
    {"type": "standardize", "columns": ["b"]},
]
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)


def encoding(features: Any = ("a", "b"), columns: dict[str, list[Any]] = TRAINING, **more: Any) -> Encoding:
    """The encoding of a model of these features."""
    names = {"feature_groups": features} if isinstance(features, dict) else {"features": [*features]}
    return encoding_of({"columns": columns, **names, "targets": ["y"], **more})


SCALED = encoding(transforms=TRANSFORMS)
TWO_INPUTS = encoding({"left": ["b"], "right": ["a"]})


def as_columns(rows: list[tuple[Any, Any]]) -> dict[str, Any]:
    """The rows as an object of columns, in another order than that of the features."""
    return {"columns": {"b": [b for _, b in rows], "a": [a for a, _ in rows]}}


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
@pytest.mark.parametrize("model", [SCALED, TWO_INPUTS], ids=["one input", "two inputs"])
def test_every_form_gives_the_same_bits(model: Encoding, rows: list[tuple[Any, Any]]) -> None:
    """All forms have the inputs that the same cells have as a table, which is read cell by cell."""
    names = [{"a": a, "b": b} for a, b in rows]
    bodies: list[Any] = [as_columns(rows), {"rows": names}, names]
    if model is SCALED:
        bodies.append({"inputs": [list(row) for row in rows]})
    whole = as_columns(rows)
    whole["columns"]["other"] = ["text"] * len(rows)
    assert read_numbers(model, whole) is None
    expected = encoded_inputs(model, whole)
    for body in bodies:
        assert read_numbers(model, body) is not None
        found = encoded_inputs(model, body)
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [[1, 2], [3]]},
        {"inputs": [[1, True]]},
        {"inputs": [[1, None]]},
        {"inputs": [[1, "2"]]},
        {"inputs": [[1, 2**53]]},
        {"inputs": [[1.0, 10**400]]},
        {"inputs": [[[1], [2]]]},
        {"inputs": [1, 2]},
        {"inputs": []},
        {"inputs": {"input": [[1, 2]]}},
        {"inputs": [[1, 2]], "targets": [1]},
        {"columns": {"a": [1], "b": [1, 2]}},
        {"columns": {"a": 1, "b": 2}},
        {"columns": {"a": []}},
        {"columns": {"a": [], "b": []}},
        {"rows": [{"a": 1, "b": 2}, {"a": 1}]},
        {"rows": [[1, 2]]},
        [[1, 2]],
        [],
        {},
        None,
        "text",
    ],
)
def test_everything_else_is_read_cell_by_cell(body: Any) -> None:
    """Other types, shapes and names are left to the readers that know and explain them."""
    assert read_numbers(SCALED, body) is None


@pytest.mark.parametrize(
    "model",
    [
        encoding(reading={"missing": ["-999"]}),
        encoding(
            columns={**TRAINING, "b": ["x", "y", "x", "y"]},
            transforms=[{"type": "one_hot", "columns": ["b"]}],
        ),
        encoding(columns={**TRAINING, "b": [True, False, True, True]}),
        encoding(transforms=[{"type": "one_hot", "columns": ["b"]}]),
    ],
    ids=["missing numbers", "text", "boolean", "categories of numbers"],
)
def test_a_model_may_need_more_than_numbers(model: Encoding) -> None:
    """Numbers may mean a missing value, or be looked up as they were written."""
    assert read_numbers(model, {"inputs": [[1, 2]]}) is None


def test_errors_in_cells_have_the_pointers_of_their_form() -> None:
    """A number that a model can't take is reported as in other rows."""
    bodies: list[Any] = [
        {"columns": {"a": [1, 2], "b": [1, 1e300]}},
        {"rows": [{"a": 1, "b": 1}, {"a": 2, "b": 1e300}]},
        {"inputs": [[1, 1], [2, 1e300]]},
    ]
    pointers = []
    for body in bodies:
        ((pointer, detail),) = refusal(lambda body=body: encoded_inputs(SCALED, body)).items()
        assert "`b` in row 1 is too large for float32" in detail
        pointers.append(pointer)
    assert pointers == ["#/columns/b/1", "#/rows/1/b", "#/inputs"]
