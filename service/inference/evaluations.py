"""Evaluation of a trained model on labelled rows: loss, metrics, confusion matrix and worst rows."""

from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from service.datasets.dataset import Dataset
from service.datasets.prepare.encode import encode, evaluation_rows
from service.datasets.prepare.encoding import IGNORED, class_positions, decode_outputs
from service.datasets.samples import Samples
from service.errors import FieldError, InvalidRequest
from service.inference.model import TrainedModel
from service.inference.predictions import column_labels, decide_labels, describe_outputs, run_model
from service.training.check import output_width
from service.training.class_weights import build_loss
from service.training.device_placement import place_samples
from service.training.evaluation import MeanLoss, loss_weight, rows_per_slice
from service.training.labels import target_names
from service.training.metrics import (
    THRESHOLD,
    USUAL_METRICS,
    build_metric,
    compute_and_reset,
    metric_inputs,
    task_of,
    update_metrics,
)

# A confusion matrix of k classes has k² counts.
MAX_CLASSES = 1000


def evaluate(model: TrainedModel, body: Mapping[str, Any] | Dataset, worst: int) -> dict[str, Any]:
    """Compute loss and metrics on labelled rows, exactly as the training computes them.

    Args:
        model: The model.
        body: The rows with their targets, as a JSON document or as a dataset.
        worst: Number of rows of the highest loss to report.

    Returns:
        `epoch`, `rows`, `loss`, `metrics`, `confusion_matrix` and `worst`; NaN for a metric without a value.

    Raises:
        InvalidRequest: The rows or their targets don't fit the model.
    """
    encoding, cpu = model.encoding, torch.device("cpu")
    raw = evaluation_rows(encoding, body)
    evaluation = None
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, model.precision == "bfloat16"):
            for part in raw.slices(rows_per_slice(encoding.sample_bytes, model.training.batch_size or 1)):
                inputs, targets, _ = encode(encoding, part, targets=True)
                if raw.errors.count:
                    continue  # only look for further errors
                assert targets is not None
                model.target_rules.check(encoding, part, targets)
                if raw.errors.count:
                    continue
                samples = place_samples(Samples(inputs, targets), model.loss, cpu)
                outputs = run_model(model, samples.inputs, part)
                evaluation = evaluation or _Evaluation(model, output_width(outputs), worst)
                evaluation.add(outputs, samples.targets)
    except (RuntimeError, IndexError, ValueError) as error:
        detail = f"The model can't be evaluated on these rows: {error}"
        raise InvalidRequest(detail, [FieldError("#", detail)]) from None
    raw.errors.raise_if_any()
    assert evaluation is not None  # data have at least one row
    return {"epoch": model.epoch, "rows": len(raw.rows), **evaluation.document()}


class _Worst(NamedTuple):
    """Rows in descending order of their loss."""

    losses: Tensor  # [n]
    rows: Tensor  # int64 [n]
    outputs: Tensor  # [n, …]
    targets: Tensor  # [n, …]


class _Evaluation:
    """Accumulates loss, metrics, confusion matrix and worst rows over slices of rows.

    Args:
        model: The model.
        width: Size of the model's output in dimension 1.
        max_worst: Number of rows of the highest loss to keep.
    """

    def __init__(self, model: TrainedModel, width: int, max_worst: int) -> None:
        self._model = model
        self._task = task_of(model.loss, width)
        self._loss_fn = build_loss(model.training, model.encoding, width)
        self._row_loss_fn = copy(self._loss_fn)
        self._row_loss_fn.reduction = "none"  # type: ignore[assignment]  # not a module, as mypy thinks
        chosen = {metric.type: metric.arguments() for metric in model.training.metrics}
        chosen = chosen or {name: {} for name in USUAL_METRICS[self._task]}
        self._metrics: dict[str, Metric] = {
            name: build_metric(name, arguments, self._task, width, model.encoding)
            for name, arguments in chosen.items()
        }
        self._rows = 0
        self._losses = MeanLoss()
        self._confusion: Tensor | None = None
        self._max_worst = max_worst
        self._worst: _Worst | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the next rows: the model's outputs [B, …] and encoded targets [B, …]."""
        first, self._rows = self._rows, self._rows + len(targets)
        self._losses.add(self._loss_fn(outputs, targets), loss_weight(targets, self._model.loss.ignores))
        # The loss of a row is the mean over its outputs: [B, …] -> [B].
        losses = self._row_loss_fn(outputs, targets).float().reshape(len(targets), -1).mean(dim=1)
        outputs = outputs.float()
        update_metrics(self._metrics.values(), metric_inputs(self._model.loss, self._task, outputs, targets))
        rows = _Worst(losses, torch.arange(first, self._rows), outputs, targets)
        if self._model.loss.ignores:
            counted = targets != IGNORED  # [B]
            rows = _Worst(*(tensor[counted] for tensor in rows))
        counts = _confusion(self._model, rows.outputs, rows.targets)
        self._confusion = counts if self._confusion is None or counts is None else self._confusion + counts
        self._keep_worst(rows)

    def _keep_worst(self, new: _Worst) -> None:
        if self._worst is not None:
            new = _Worst(*map(torch.cat, zip(self._worst, new, strict=True)))
        # NaN sorts as the highest; the sort is stable, so equal losses keep the order of their rows.
        order = new.losses.sort(descending=True, stable=True).indices[: self._max_worst]
        self._worst = _Worst(*(tensor[order] for tensor in new))

    def document(self) -> dict[str, Any]:
        """Compute the results over all rows added so far."""
        return {
            "loss": self._losses.mean(),
            "metrics": {name: compute_and_reset(metric) for name, metric in self._metrics.items()},
            "confusion_matrix": self._matrix(),
            "worst": [] if self._worst is None else _describe_worst(self._model, self._worst),
        }

    def _matrix(self) -> dict[str, Any] | None:
        if self._confusion is None:
            return None
        encoding, matrix = self._model.encoding, self._confusion.tolist()
        if encoding.classes is not None:
            return {"classes": list(encoding.classes), "matrix": matrix}
        if len(matrix) == 1:
            return {"classes": [0, 1], "matrix": matrix[0]}
        return {"classes": list(target_names(encoding)), "matrix": matrix}


def _confusion(model: TrainedModel, outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Count rows by actual and predicted class.

    Returns:
        int64 [classes, classes], the actual class in dimension 0; int64 [k, 2, 2] for k targets of 0 and 1;
        None for a regression, for more than `MAX_CLASSES` classes and for outputs of more than two
        dimensions.
    """
    decided = decide_labels(model, outputs)
    if decided is None or decided.dim() > 2:
        return None
    if model.encoding.classes is not None:
        count = len(model.encoding.classes)
        actual = class_positions(model.encoding, targets.reshape(-1))  # [B]
        cells = actual * count + decided  # [B], row-major indices into the matrix
        return None if count > MAX_CLASSES else cells.bincount(minlength=count**2).reshape(count, count)
    cells = 2 * (targets >= THRESHOLD) + decided  # [B, k], row-major indices into each 2 × 2 matrix
    return torch.stack([(cells == cell).sum(dim=0) for cell in range(4)], dim=1).reshape(-1, 2, 2)


def _describe_worst(model: TrainedModel, worst: _Worst) -> list[dict[str, Any]]:
    """Describe each row by its number, loss, target and prediction."""
    classes = model.encoding.classes
    if classes is not None:
        positions = class_positions(model.encoding, worst.targets.reshape(-1))
        targets = [classes[position] for position in positions.tolist()]
    else:
        targets = decode_outputs(model.encoding, worst.targets)
    answer = describe_outputs(model, worst.outputs)
    if classes is None and "labels" in answer and not (worst.targets % 1).any():
        targets = column_labels(model.encoding, worst.targets.long())  # labels, or 0 and 1 as integers
    columns = {
        "row": worst.rows.tolist(),
        "loss": worst.losses.tolist(),
        "target": targets,
        "output": answer["outputs"],
        "label": answer.get("labels"),
        "probabilities": answer.get("probabilities"),
    }
    columns = {name: values for name, values in columns.items() if values is not None}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
