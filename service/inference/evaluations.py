"""How well a trained model does on labelled rows: loss, metrics, confusion matrix, the worst rows."""

from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from service.datasets.dataset import Dataset
from service.datasets.prepare.encode import encode, labelled_source
from service.datasets.prepare.encoding import decode_outputs
from service.datasets.samples import Samples
from service.errors import FieldError, InvalidRequest
from service.inference.model import TrainedModel
from service.inference.predictions import answers, decide, run
from service.training.check import output_width
from service.training.class_weights import build_loss
from service.training.device_placement import placed
from service.training.evaluation import Losses, rows_at_once
from service.training.labels import target_names
from service.training.metrics import LIKELY, USUAL_METRICS, build_metric, computed, metric_inputs, task_of

# k classes make k² counts.
MOST_CLASSES = 1000


def evaluate(model: TrainedModel, body: Mapping[str, Any] | Dataset, worst: int) -> dict[str, Any]:
    """The loss and the metrics of the training, of these rows, as the training itself would compute them.

    Args:
        body: rows as `predict` takes them, with their targets.
        worst: how many rows to tell apart, those of the highest loss.

    Returns:
        `epoch`, `rows`, `loss`, `metrics`, `confusion_matrix`, `worst`; NaN where there is no value.

    Raises:
        InvalidRequest: when the rows or their targets are not what the model was trained for.
    """
    encoding, cpu = model.encoding, torch.device("cpu")
    source = labelled_source(encoding, body)
    tally = None
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, model.precision == "bfloat16"):
            for part in source.slices(rows_at_once(encoding.sample_bytes, model.training.batch_size or 1)):
                inputs, targets, _ = encode(encoding, part, targets=True)
                if source.mistakes.count:
                    continue  # only to find the others
                assert targets is not None
                samples = placed(Samples(inputs, targets), model.loss, cpu)
                outputs = run(model, samples.inputs)
                tally = tally or _Tally(model, output_width(outputs), worst)
                tally.add(outputs, samples.targets)
    except (RuntimeError, IndexError, ValueError) as error:
        detail = f"The model can't be evaluated on these rows: {error}"
        raise InvalidRequest(detail, [FieldError("#", detail)]) from None
    source.mistakes.check()
    assert tally is not None  # no data are without rows
    return {"epoch": model.epoch, "rows": len(source.rows), **tally.document()}


class _Worst(NamedTuple):
    """The rows of the highest loss so far, the highest first."""

    losses: Tensor  # [n]
    rows: Tensor  # int64 [n]
    outputs: Tensor  # [n, …]
    targets: Tensor  # [n, …]


class _Tally:
    """What is known of the rows so far.

    Args:
        width: size of the model's output in dimension 1.
        worst: how many rows of the highest loss to keep.
    """

    def __init__(self, model: TrainedModel, width: int, worst: int) -> None:
        self._model = model
        self._task = task_of(model.loss, width)
        self._loss_fn = build_loss(model.training, model.encoding, width)
        self._row_loss_fn = copy(self._loss_fn)
        self._row_loss_fn.reduction = "none"  # type: ignore[assignment]  # not a module, as mypy thinks
        chosen = {metric.type: metric.arguments() for metric in model.training.metrics}
        chosen = chosen or {name: {} for name in USUAL_METRICS[self._task]}
        self._metrics: dict[str, Metric] = {
            name: build_metric(name, arguments, self._task, width) for name, arguments in chosen.items()
        }
        self._rows = 0
        self._losses = Losses()
        self._confusion: Tensor | None = None
        self._most_kept = worst
        self._worst: _Worst | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in the rows that follow: outputs [B, …] as the model gives them, targets [B, …]."""
        first, self._rows = self._rows, self._rows + len(targets)
        self._losses.add(self._loss_fn(outputs, targets), len(targets))
        losses = self._row_loss_fn(outputs, targets).float().reshape(len(targets), -1).mean(dim=1)
        outputs = outputs.float()
        for metric in self._metrics.values():
            metric.update(*metric_inputs(self._model.loss, self._task, outputs, targets))
        counts = _confusion(self._model, outputs, targets)
        self._confusion = counts if self._confusion is None or counts is None else self._confusion + counts
        self._keep_worst(_Worst(losses, torch.arange(first, self._rows), outputs, targets))

    def _keep_worst(self, new: _Worst) -> None:
        if self._worst is not None:
            new = _Worst(*map(torch.cat, zip(self._worst, new, strict=True)))
        # NaN counts as the highest; of equal losses the first row comes first.
        order = new.losses.sort(descending=True, stable=True).indices[: self._most_kept]
        self._worst = _Worst(*(tensor[order] for tensor in new))

    def document(self) -> dict[str, Any]:
        """What `evaluate` answers about the rows."""
        return {
            "loss": self._losses.mean(),
            "metrics": {name: computed(metric) for name, metric in self._metrics.items()},
            "confusion_matrix": self._matrix(),
            "worst": [] if self._worst is None else _told(self._model, self._worst),
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
    """Rows counted by what they are and by what the outputs say.

    Returns:
        int64 [classes, classes], the actual class first; [k, 2, 2] for k targets of 0 and 1; None for
        a regression, for more than 1000 classes and for outputs of more than two dimensions.
    """
    decided = decide(model, outputs)
    if decided is None or decided.dim() > 2:
        return None
    if model.encoding.classes is not None:
        count = len(model.encoding.classes)
        cells = targets.reshape(-1).long() * count + decided
        return None if count > MOST_CLASSES else cells.bincount(minlength=count**2).reshape(count, count)
    cells = 2 * (targets >= LIKELY) + decided  # [B, k]
    return torch.stack([(cells == cell).sum(dim=0) for cell in range(4)], dim=1).reshape(-1, 2, 2)


def _told(model: TrainedModel, worst: _Worst) -> list[dict[str, Any]]:
    """Each row with its loss, its target, and what is predicted for it."""
    classes = model.encoding.classes
    if classes is not None:
        targets = [classes[index] for index in worst.targets.reshape(-1).long().tolist()]
    else:
        targets = decode_outputs(model.encoding, worst.targets)
    answer = answers(model, worst.outputs)
    if classes is None and "labels" in answer and not (worst.targets % 1).any():
        targets = worst.targets.long().tolist()  # 0 and 1, as the labels are
    columns = {
        "row": worst.rows.tolist(),
        "loss": worst.losses.tolist(),
        "target": targets,
        "output": answer["outputs"],
        "label": answer.get("labels"),
        "probabilities": answer.get("probabilities"),
    }
    there = {name: values for name, values in columns.items() if values is not None}
    return [dict(zip(there, row, strict=True)) for row in zip(*there.values(), strict=True)]
