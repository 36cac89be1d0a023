"""Requests in the forms of Keras and scikit-learn are answered with the line to write."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from service.preflight.result import PreflightResult
from tests.support.documents import changed
from tests.support.field_errors import refusal

Plan = Callable[[Any], PreflightResult]

VALID: dict[str, Any] = {
    "data": {"columns": {"x": [0, 1], "y": [0, 1]}, "features": ["x"], "targets": ["y"]},
    "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
    "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
}
KERAS = {
    "class_name": "Sequential",
    "config": {
        "name": "sequential",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4]}},
            {"class_name": "Dense", "config": {"units": 8, "activation": "relu", "use_bias": True}},
            {"class_name": "Dropout", "config": {"rate": 0.2}},
            {"class_name": "Dense", "config": {"units": 1, "activation": "linear"}},
        ],
    },
}
KERAS_LAYERS = (
    '{"type": "sequential", "layers": [{"type": "Linear", "out_features": 8}, {"type": "ReLU"}, '
    '{"type": "Dropout", "p": 0.2}, {"type": "Linear", "out_features": 1}]}'
)
PERCEPTRON = (
    '{"type": "sequential", "layers": [{"type": "Linear", "out_features": 16}, {"type": "ReLU"}, '
    '{"type": "Linear", "out_features": 1}]}'
)
LAYER = "#/architecture/layers/0"


@pytest.mark.parametrize(
    ("pointer", "value", "reported", "line"),
    [
        ("#/training/learning_rate", 0.1, None, '"optimizer": {"type": "Adam", "lr": 0.1}'),
        ("#/training/lr", 0.1, None, '"optimizer": {"type": "Adam", "lr": 0.1}'),
        ("#/training/learning_rate_init", 0.1, None, '"optimizer": {"type": "Adam", "lr": 0.1}'),
        ("#/training/n_epochs", 5, None, '"epochs": 5'),
        ("#/training/num_epochs", 5, None, '"epochs": 5'),
        ("#/training/max_iter", 200, None, '"epochs": 200'),
        ("#/training/loss", "mse", None, '"loss": "MSELoss"'),
        ("#/training/loss", "mean_squared_error", None, '"loss": "MSELoss"'),
        ("#/training/loss", "cross_entropy", None, '"loss": "CrossEntropyLoss"'),
        ("#/training/loss", "categorical_crossentropy", None, '"loss": "CrossEntropyLoss"'),
        ("#/training/optimizer", "adam", None, '"optimizer": {"type": "Adam", "lr": 0.01}'),
        ("#/training/optimizer", "sgd", None, '"optimizer": {"type": "SGD", "lr": 0.01}'),
        ("#/training/optimizer", {"type": "Adam", "learning_rate": 0.1}, "learning_rate", '"lr": 0.1'),
        ("#/training/optimizer", {"class_name": "Adam", "config": {}}, None, '{"type": "Adam", …}'),
        ("#/training/metrics", ["acc"], "0", '"metrics": ["accuracy"]'),
        ("#/epochs", 5, None, '"training": {"epochs": 5, …}'),
        ("#/X", [[0], [1]], None, '"data": {"columns": {"x": […], "y": […]}, "features": ["x"]'),
        ("#/y", [0, 1], None, '"targets": ["y"]'),
        ("#/metadata", {"a": 1}, None, '"name": "…"'),
        ("#/hidden_layer_sizes", [16], None, f'"architecture": {PERCEPTRON}'),
        ("#/data/X", [[0], [1]], None, '"inputs": [[…], …]'),
        (LAYER, {"type": "Dense", "units": 8}, "type", '{"type": "Linear", "out_features": …}'),
        (LAYER, {"type": "fc"}, "type", '{"type": "Linear", "out_features": …}'),
        (LAYER, {"type": "Conv2D", "filters": 8}, "type", '{"type": "Conv2d", "out_channels": …'),
        (LAYER, {"type": "Linear", "units": 8}, "units", '"out_features": 8'),
        (
            LAYER,
            {"type": "Linear", "out_features": 1, "activation": "relu"},
            "activation",
            '{"type": "ReLU"}',
        ),
        (LAYER, {"type": "Linear", "out_features": 1, "input_shape": [4]}, "input_shape", "inferred"),
        (LAYER, {"type": "Conv2d", "filters": 8, "kernel_size": 3}, "filters", '"out_channels": 8'),
        (LAYER, {"class_name": "Dense", "config": {"units": 8}}, "", '{"type": "Linear", "out_features": 8}'),
        ("#/architecture", KERAS, None, f'"architecture": {KERAS_LAYERS}'),
        ("#/architecture", {"hidden_layer_sizes": [16]}, None, f'"architecture": {PERCEPTRON}'),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_habit_is_answered_with_the_line_to_write(
    plan: Plan, pointer: str, value: Any, reported: str | None, line: str
) -> None:
    """The error at the value, or at the member `reported` of it, has the JSON to write."""
    errors = refusal(lambda: plan(changed(VALID, pointer, value)))
    assert line in errors[f"{pointer}/{reported}" if reported else pointer]


def test_a_whole_keras_model_is_recognized(plan: Plan) -> None:
    """`model.to_json()` as the request is answered with the architecture to write."""
    assert f'"architecture": {KERAS_LAYERS}' in refusal(lambda: plan(KERAS))["#/config"]


def test_a_scikit_learn_request_is_recognized(plan: Plan) -> None:
    """The parameters of an `MLPRegressor` beside `X` and `y` are answered one by one."""
    errors = refusal(
        lambda: plan(
            {"X": [[0], [1]], "y": [0, 1], "hidden_layer_sizes": [16], "max_iter": 9, "solver": "adam"}
        )
    )
    assert f'"architecture": {PERCEPTRON}' in errors["#/hidden_layer_sizes"]
    assert '"epochs": 9' in errors["#/max_iter"]
    assert '"columns"' in errors["#/X"]
