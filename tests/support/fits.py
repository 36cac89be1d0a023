"""Requests of jobs: a regression, a classification, and tensors."""

from typing import Any

from tests.support.thermometer import thermometer as thermometer_data

LINEAR = [{"type": "Linear", "in_features": 1, "out_features": 1}]
SEQUENTIAL = [
    {"type": "Linear", "in_features": 1, "out_features": 13},
    {"type": "Tanh"},
    {"type": "Linear", "in_features": 13, "out_features": 1},
]
ORDERED = [
    {"name": "hidden_linear", "type": "Linear", "in_features": 1, "out_features": 8},
    {"name": "hidden_activation", "type": "Tanh"},
    {"name": "output_linear", "type": "Linear", "in_features": 8, "out_features": 1},
]
LONG = 10_000_000  # epochs that no test waits for

FLOWERS = {
    "petal": [1.4, 1.3, 1.5, 1.7, 4.7, 4.5, 4.9, 4.0, 6.0, 5.9, 5.6, 5.8],
    "sepal": [5.1, 4.9, 4.7, 5.4, 7.0, 6.4, 6.9, 5.5, 6.3, 7.1, 6.5, 7.6],
    "species": ["setosa"] * 4 + ["versicolor"] * 4 + ["virginica"] * 4,
}


def thermometer(layers: list[dict[str, Any]] | None = None, **training: Any) -> dict[str, Any]:
    """Return a fit of the thermometer of "Deep Learning with PyTorch".

    Args:
        layers: Layers of a sequential; `LINEAR` by default.
        training: Changes of the training section, which has 100 epochs.
    """
    return {
        "data": thermometer_data(split={"validation": 0.2, "seed": 0}),
        "architecture": {"type": "sequential", "layers": [dict(layer) for layer in layers or LINEAR]},
        "training": {
            "loss": "MSELoss",
            "optimizer": {"type": "SGD", "lr": 1e-2},
            "epochs": 100,
            "seed": 0,
            **training,
        },
        "engine": "eager",
    }


def flowers(**training: Any) -> dict[str, Any]:
    """Return a classification of two columns into three species, with changes of the training section."""
    return {
        "data": {
            "columns": FLOWERS,
            "features": ["petal", "sepal"],
            "targets": ["species"],
            "transforms": [{"columns": "numeric", "type": "standardize"}],
            "split": {"validation_rows": [3, 7, 11]},
        },
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "out_features": 8},
                {"type": "ReLU"},
                {"type": "Linear", "out_features": 3},
            ],
        },
        "training": {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "Adam", "lr": 0.05},
            "metrics": ["accuracy"],
            "epochs": 60,
            "seed": 1,
            **training,
        },
        "engine": "eager",
    }


def tensors(inputs: Any, targets: Any, layers: list[dict[str, Any]], **training: Any) -> dict[str, Any]:
    """Return a fit of nested lists without validation, with changes of the training section."""
    body = thermometer(layers, **training)
    return {**body, "data": {"inputs": inputs, "targets": targets}}
