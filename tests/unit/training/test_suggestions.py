"""Suggestions for targets of each task."""

from typing import Any

import pytest

from service.datasets.sources.json import read_json
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from service.training.suggestions import Suggestion, suggest

NUMBERS = [0.5, 14.0, 15.0, 28.0]


def suggested(**columns: list[Any]) -> Suggestion | None:
    """Suggest for a table with all columns as targets."""
    return suggest(read_json({"columns": columns}), list(columns))


@pytest.mark.parametrize(
    ("columns", "task", "loss", "outputs"),
    [
        ({"t_c": NUMBERS}, "regression", "MSELoss", 1),
        ({"t_c": NUMBERS, "wet": [True, False, True, False]}, "regression", "MSELoss", 2),
        ({"wet": [True, False, None, False]}, "binary", "BCEWithLogitsLoss", 1),
        ({"wet": [0, 1, 1, 0]}, "binary", "BCEWithLogitsLoss", 1),
        ({"sex": ["f", "m", "f", None]}, "binary", "BCEWithLogitsLoss", 1),
        ({"wet": [0, 1, 1, 0], "cold": [True, False, True, True]}, "multilabel", "BCEWithLogitsLoss", 2),
        ({"species": ["a", "b", "c", "a"]}, "multiclass", "CrossEntropyLoss", 3),
        ({"digit": [0, 1, 2, 1]}, "multiclass", "CrossEntropyLoss", 3),
        ({"count": [0, 1, 7, 1]}, "regression", "MSELoss", 1),
        ({"count": [0, 1, 2, 1.5]}, "regression", "MSELoss", 1),
        ({"count": [1, 2, 3, 1]}, "regression", "MSELoss", 1),
        ({"rank": [*range(10)]}, "regression", "MSELoss", 1),
        ({"digit": [*range(10), 4]}, "multiclass", "CrossEntropyLoss", 10),
        ({"grade": [1, 2, 3, 2] * 10}, "multiclass", "CrossEntropyLoss", 3),
        ({"year": [*range(2000, 2040)] * 20}, "regression", "MSELoss", 1),
        ({"wet": ["yes", "no", "no"], "cold": [0, 1, 0]}, "multilabel", "BCEWithLogitsLoss", 2),
    ],
)
def test_tasks_of_columns(columns: dict[str, list[Any]], task: str, loss: str, outputs: int) -> None:
    """The values of the columns determine the task: regression, binary, multilabel or multiclass."""
    found = suggested(**columns)
    assert found is not None
    assert (found.task, found.loss, found.outputs) == (task, loss, outputs)


@pytest.mark.parametrize(
    ("targets", "task", "outputs"),
    [
        ([0, 2, 1], "multiclass", 3),
        ([0, 5, 9], "multiclass", 3),
        ([[0], [1], [1]], "binary", 1),
        ([[False], [True], [True]], "binary", 1),
        ([[0, 1], [1, 1], [0, 0]], "multilabel", 2),
        ([[0.5, 1], [1, 1], [0, 0]], "regression", 2),
        ([[[0.5, 1]], [[1, 1]], [[0, 0]]], "regression", 1),
    ],
)
def test_tasks_of_tensors(targets: list[Any], task: str, outputs: int) -> None:
    """Tensors [B] are class indices; tensors [B, k] are values, or labels of 0 and 1."""
    found = suggest(read_json({"inputs": [[1], [2], [3]], "targets": targets}), ())
    assert found is not None
    assert (found.task, found.outputs) == (task, outputs)


@pytest.mark.parametrize(
    "columns",
    [{"y": ["a", "a"]}, {"y": [None, None]}, {"y": ["a", "b"], "z": [1, 2]}, {}],
    ids=["one class", "all missing", "text among others", "no targets"],
)
def test_no_suggestion_without_a_task(columns: dict[str, list[Any]]) -> None:
    """Targets that don't determine a task have no suggestion."""
    assert suggest(read_json({"columns": {"x": [1, 2], **columns}}), list(columns)) is None
    assert suggest(read_json({"inputs": [[1], [2]]}), ()) is None
    assert suggest(read_json({"inputs": [[1], [2]], "targets": [4, 4]}), ()) is None
    assert suggest(read_json({"columns": {"x": [1, 2]}}), ["y"]) is None


@pytest.mark.parametrize(
    "columns", [{"y": NUMBERS}, {"y": [0, 1]}, {"y": ["a", "b", "c"]}, {"y": [0], "z": [1]}]
)
def test_suggestions_are_supported(columns: dict[str, list[Any]]) -> None:
    """The suggested loss is supported, and the suggested metrics are defined for the task."""
    found = suggested(**columns)
    assert found is not None
    assert found.loss in LOSSES
    assert all(found.task in METRICS[name].classes for name in found.metrics)


def test_uncertain_advice_names_both_tasks() -> None:
    """Few integers that repeat may be classes or values: the advice has the fields of both."""
    found = suggested(grade=[1, 2, 3, 2] * 10)
    assert found is not None
    assert not found.is_certain
    assert "a multiclass task" in found.advice()
    assert 'If they are values of a quantity, add `"loss": "MSELoss"' in found.advice()


def test_advice_contains_the_fields_to_add() -> None:
    """The sentence contains the fields as JSON and the number of outputs."""
    found = suggested(species=["a", "b", "c"])
    assert found is not None
    assert found.advice() == (
        "The targets look like those of a multiclass task: "
        'add `"loss": "CrossEntropyLoss", "metrics": ["accuracy", "f1_score"]`, '
        "and give the model 3 outputs."
    )
