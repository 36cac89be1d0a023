"""Predictions for new rows, in the targets' units, a slice of rows at a time."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from service.datasets.dataset import Dataset
from service.datasets.prepare.encode import encode, inputs_source
from service.datasets.prepare.encoding import Encoding, decode_outputs
from service.errors import FieldError, InvalidRequest
from service.inference.model import TrainedModel
from service.training.labels import key_of, target_names
from service.training.metrics import LIKELY

ROWS_AT_ONCE = 4096


def predict(model: TrainedModel, body: Mapping[str, Any] | Dataset) -> Iterator[dict[str, Any]]:
    """One output for each row, in the rows' order.

    Yields:
        For each slice of rows `epoch`, and what `answers` gives for them.

    Raises:
        InvalidRequest: when the rows are not what the model takes; after the last slice, with all mistakes
            in their cells.
    """
    source = inputs_source(model.encoding, body)
    for part in source.slices(ROWS_AT_ONCE):
        inputs = encode(model.encoding, part).inputs
        if source.mistakes.count:
            continue  # only to find the others
        try:
            with torch.inference_mode():
                outputs = run(model, inputs)
        except (RuntimeError, IndexError) as error:  # e.g. a category that the embedding has no row for
            detail = f"The model can't compute with these rows: {error}"
            raise InvalidRequest(detail, [FieldError("#", detail)]) from None
        yield {"epoch": model.epoch, **answers(model, outputs)}
    source.mistakes.check()


def run(model: TrainedModel, inputs: Sequence[Tensor]) -> Tensor:
    """The model's outputs [B, …], a slice of rows at a time so that activations stay small."""
    slices = [
        model.module(*(x[start : start + ROWS_AT_ONCE] for x in inputs))
        for start in range(0, len(inputs[0]), ROWS_AT_ONCE)
    ]
    return torch.cat(slices)


def answers(model: TrainedModel, outputs: Tensor) -> dict[str, Any]:
    """What a client is told about outputs [B, …].

    Returns:
        `outputs`, nested [B, …], in the targets' units. For classes `labels` [B] and, where the loss implies
        them, `probabilities` [B, classes]; for targets of 0 and 1 `labels` and `probabilities`,
        both of the outputs' shape. `classes` tells what the columns of probabilities are of.
    """
    encoding = model.encoding
    answer: dict[str, Any] = {"outputs": decode_outputs(encoding, outputs)}
    decided = decide(model, outputs)
    if decided is None:
        return answer
    if encoding.classes is not None:
        answer["classes"] = list(encoding.classes)
        answer["labels"] = [encoding.classes[index] for index in decided.tolist()]
    else:
        if outputs.dim() == 2:
            answer["classes"] = list(target_names(encoding))
        answer["labels"] = decided.tolist()
    if model.loss.probabilities is not None:
        probabilities = model.loss.probabilities(outputs)
        if encoding.is_binary:  # from [B, 1], that of the second
            probabilities = torch.cat([1 - probabilities, probabilities], dim=1)
        answer["probabilities"] = probabilities.tolist()
    return answer


def decide(model: TrainedModel, outputs: Tensor) -> Tensor | None:
    """What outputs [B, …] say: class indices int64 [B], 0 and 1 of the outputs' shape, or None: a number."""
    encoding, probabilities = model.encoding, model.loss.probabilities
    if encoding.classes is not None and not encoding.is_binary:
        # A model may have more outputs than there are classes: they have no label.
        return outputs[:, : len(encoding.classes)].argmax(dim=1)
    if probabilities is None:
        return None
    likely = (probabilities(outputs) >= LIKELY).long()
    return likely[:, 0] if encoding.is_binary else likely


def as_csv(answer: Mapping[str, Any], encoding: Encoding, head: bool = True) -> bytes:
    """Predictions as CSV: a column for each target, and what there is of labels and probabilities."""
    columns = _class_columns(answer, encoding) if encoding.classes else _value_columns(answer, encoding)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _class_columns(answer: Mapping[str, Any], encoding: Encoding) -> dict[str, list[Any]]:
    """`label`, and `probability_<class>` for each class."""
    columns = {"label": [key_of(label) for label in answer["labels"]]}
    if "probabilities" in answer:
        each_class = zip(encoding.classes or (), zip(*answer["probabilities"], strict=True), strict=False)
        columns |= {f"probability_{key_of(label)}": list(values) for label, values in each_class}
    return columns


def _value_columns(answer: Mapping[str, Any], encoding: Encoding) -> dict[str, list[Any]]:
    """The targets by name, and for a binary or multi-label loss `label_<name>` and `probability_<name>`."""
    columns: dict[str, list[Any]] = {}
    for prefix, key in (("", "outputs"), ("label_", "labels"), ("probability_", "probabilities")):
        if key not in answer:
            continue
        dtype = torch.int64 if key == "labels" else torch.float64
        values = torch.tensor(answer[key], dtype=dtype).reshape(len(answer[key]), -1)
        names = target_names(encoding)
        columns |= {f"{prefix}{name}": _finite(values[:, index].tolist()) for index, name in enumerate(names)}
    return columns


def _finite(values: list[float]) -> list[float | None]:
    """None where there is no finite number: an empty cell, as JSON says null."""
    return [value if math.isfinite(value) else None for value in values]
