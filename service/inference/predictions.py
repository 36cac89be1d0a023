"""Predictions for new rows, in the targets' units."""

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from service.datasets.dataset import Dataset
from service.datasets.encode import encode_inputs
from service.datasets.encoding import Encoding, decode_outputs
from service.errors import InvalidRequest
from service.inference.model import TrainedModel

ROWS_AT_ONCE = 4096
LIKELY = 0.5


def predict(model: TrainedModel, body: Mapping[str, Any] | Dataset) -> dict[str, Any]:
    """One output for each row, in the rows' order.

    Returns:
        `outputs`, nested [B, …]; for classes `labels` [B] and `probabilities` [B, classes] as well, for
        a binary or multi-label loss `labels` [B, k] of 0 and 1 and `probabilities` [B, k].

    Raises:
        InvalidRequest: when the rows are not what the model takes.
    """
    inputs = encode_inputs(model.encoding, body)
    try:
        outputs = _run(model, inputs)
    except (RuntimeError, IndexError) as error:  # e.g. a category that the embedding has no row for
        raise InvalidRequest(f"The model can't compute with these rows: {error}") from None
    answer: dict[str, Any] = {"epoch": model.epoch, "outputs": decode_outputs(model.encoding, outputs)}
    if model.encoding.classes is not None:
        # A model may have more outputs than there are classes: they have no label.
        known = outputs[:, : len(model.encoding.classes)]
        answer["labels"] = [model.encoding.classes[i] for i in known.argmax(dim=1).tolist()]
    if model.loss.probabilities is not None:
        probabilities = model.loss.probabilities(outputs)
        answer["probabilities"] = probabilities.tolist()
        if model.encoding.classes is None:
            answer["labels"] = (probabilities >= LIKELY).int().tolist()
    return answer


def _run(model: TrainedModel, inputs: tuple[Tensor, ...]) -> Tensor:
    """The model's outputs [B, …], a slice of rows at a time so that activations stay small."""
    with torch.inference_mode():
        slices = [
            model.module(*(x[start : start + ROWS_AT_ONCE] for x in inputs))
            for start in range(0, len(inputs[0]), ROWS_AT_ONCE)
        ]
    return torch.cat(slices)


def as_csv(answer: Mapping[str, Any], encoding: Encoding) -> bytes:
    """Predictions as CSV: a column for each target, and what there is of labels and probabilities."""
    columns = _class_columns(answer, encoding) if encoding.classes else _value_columns(answer, encoding)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _class_columns(answer: Mapping[str, Any], encoding: Encoding) -> dict[str, list[Any]]:
    """`label`, and `probability_<class>` for each class."""
    columns = {"label": answer["labels"]}
    if "probabilities" in answer:
        each_class = zip(encoding.classes or (), zip(*answer["probabilities"], strict=True), strict=False)
        columns |= {f"probability_{label}": list(values) for label, values in each_class}
    return columns


def _value_columns(answer: Mapping[str, Any], encoding: Encoding) -> dict[str, list[Any]]:
    """The targets by name, and for a binary or multi-label loss `label_<name>` and `probability_<name>`."""
    columns: dict[str, list[Any]] = {}
    for prefix, key in (("", "outputs"), ("label_", "labels"), ("probability_", "probabilities")):
        if key not in answer:
            continue
        values = torch.tensor(answer[key], dtype=torch.float64).reshape(len(answer[key]), -1)
        names = encoding.targets or [f"output_{index}" for index in range(values.shape[1])]
        columns |= {f"{prefix}{name}": _finite(values[:, index].tolist()) for index, name in enumerate(names)}
    return columns


def _finite(values: list[float]) -> list[float | None]:
    """None where there is no finite number: an empty cell, as JSON says null."""
    return [value if math.isfinite(value) else None for value in values]
