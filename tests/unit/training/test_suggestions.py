"""What is suggested for targets of each kind."""

from typing import Any

import pytest

from service.datasets.sources.json import read_json
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from service.training.suggestions import Suggestion, suggest

NUMBERS = [0.5, 14.0, 15.0, 28.0]


def suggested(**columns: list[Any]) -> Suggestion | None:
    """The suggestion for all columns of a table as targets."""
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
    ],
)
def test_kinds_of_columns(columns: dict[str, list[Any]], task: str, loss: str, outputs: int) -> None:
    """Numbers, yes or no, and classes are told apart by what the columns hold."""
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
def test_kinds_of_tensors(targets: list[Any], task: str, outputs: int) -> None:
    """Tensors [B] are class indices, [B, k] values or yes and no."""
    found = suggest(read_json({"inputs": [[1], [2], [3]], "targets": targets}), ())
    assert found is not None
    assert (found.task, found.outputs) == (task, outputs)


@pytest.mark.parametrize(
    "columns",
    [{"y": ["a", "a"]}, {"y": [None, None]}, {"y": ["a", "b"], "z": [1, 2]}, {}],
    ids=["one class", "all missing", "text among others", "no targets"],
)
def test_nothing_is_made_up(columns: dict[str, list[Any]]) -> None:
    """Where the targets tell nothing, nothing is suggested."""
    assert suggest(read_json({"columns": {"x": [1, 2], **columns}}), list(columns)) is None
    assert suggest(read_json({"inputs": [[1], [2]]}), ()) is None
    assert suggest(read_json({"inputs": [[1], [2]], "targets": [4, 4]}), ()) is None
    assert suggest(read_json({"columns": {"x": [1, 2]}}), ["y"]) is None


@pytest.mark.parametrize(
    "columns", [{"y": NUMBERS}, {"y": [0, 1]}, {"y": ["a", "b", "c"]}, {"y": [0], "z": [1]}]
)
def test_what_is_suggested_is_offered(columns: dict[str, list[Any]]) -> None:
    """The loss and the metrics are some that a spec may name, for the task they are suggested for."""
    found = suggested(**columns)
    assert found is not None
    assert found.loss in LOSSES
    assert all(found.task in METRICS[name].classes for name in found.metrics)


def test_advice_is_a_line_to_add() -> None:
    """The sentence holds the fields as JSON, and how wide the output is to be."""
    found = suggested(species=["a", "b", "c"])
    assert found is not None
    assert found.advice() == (
        "The targets look like those of a multiclass task: "
        'add `"loss": "CrossEntropyLoss", "metrics": ["accuracy", "f1_score"]`, '
        "and let the model give 3 outputs."
    )
