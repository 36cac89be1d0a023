"""Evaluation of a trained model on labelled rows: loss, metrics, reports and worst rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from service.datasets.dataset import Dataset
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import IGNORED, TARGETS, WEIGHTS, Encoding
from service.datasets.prepare.far_inputs import FarInputs
from service.datasets.prepare.ids import RowIds
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.request_rows import evaluation_rows
from service.datasets.prepare.targets import target_values
from service.datasets.prepare.weights import has_weights
from service.datasets.rows import as_tensor
from service.datasets.samples import Samples
from service.errors import FieldError, InvalidRequest
from service.inference.classification import (
    MAX_CLASSES,
    MAX_CURVE_CLASSES,
    Counts,
    Curves,
    class_names,
    has_threshold,
    positions_of,
)
from service.inference.model import TrainedModel
from service.inference.predictions import Outputs, column_labels, describe_outputs, labels_of, run_model
from service.inference.residuals import MAX_TARGETS, Residuals
from service.specs.component import MetricSpec
from service.training.class_weights import build_loss
from service.training.device_placement import place_samples
from service.training.evaluation import MeanLoss, rows_per_slice
from service.training.expression_loss import differentiates, with_gradients
from service.training.labels import output_names
from service.training.metrics import (
    THRESHOLD,
    USUAL_METRICS,
    build_metric,
    compute_and_reset,
    set_threshold,
)
from service.training.metrics import (
    has_threshold as compares_with_threshold,
)
from service.training.out_of_memory import is_out_of_memory
from service.training.target_units import ERROR_LOSSES, TargetUnits, evaluation_document, without_units
from service.training.weighted_loss import WeightedLoss, loss_weight


@dataclass(frozen=True)
class Extent:
    """Extent of the report of an evaluation.

    Attributes:
        worst: Number of rows of the highest loss.
        threshold: Minimum probability for which a binary prediction is 1, also in the metrics; None: 0.5, and
            in metrics the threshold of the job.
        curves: Whether to compute curves over all thresholds.
    """

    worst: int
    threshold: float | None = None
    curves: bool = False


def evaluate(
    model: TrainedModel,
    body: Mapping[str, Any] | list[Any] | Dataset,
    worst: int,
    threshold: float | None = None,
    curves: bool = False,
) -> dict[str, Any]:
    """Evaluate on the rows of a request, a JSON document or a dataset; see `Extent` and `evaluate_rows`."""
    raw = evaluation_rows(model.encoding, body)
    ids = RowIds(model.encoding.id, body, raw.dataset.rows)
    return evaluate_rows(model, raw, Extent(worst, threshold, curves), ids)


def evaluate_rows(
    model: TrainedModel, raw: RawRows, extent: Extent, ids: RowIds | None = None
) -> dict[str, Any]:
    """Compute loss and metrics on labelled rows, exactly as the training computes them.

    Args:
        model: The model.
        raw: The rows, with targets and, if they have some, weights.
        extent: What to report.
        ids: The ids of the rows of the dataset of `raw`; None without any.

    Returns:
        The response of `POST …/evaluations`; NaN for a figure without a value.

    Raises:
        InvalidRequest: The rows or their targets don't fit the model, or the extent doesn't.
    """
    encoding, cpu = model.encoding, torch.device("cpu")
    weighted = has_weights(encoding, raw.dataset)
    by_inputs = differentiates(build_loss(model.training, encoding, model.roles.main.width))
    evaluation = None
    try:
        with (
            torch.enable_grad() if by_inputs else torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, model.precision == "bfloat16"),
        ):
            for part in raw.slices(rows_per_slice(encoding.sample_bytes, model.training.batch_size or 1)):
                inputs, targets, weights, _ = encode(encoding, part, targets=True, weights=weighted)
                if raw.errors.count:
                    continue  # only look for further errors
                assert targets is not None
                model.target_rules.check(encoding, part, targets)
                if raw.errors.count:
                    continue
                samples = place_samples(Samples(inputs, targets, weights=weights), model.loss, cpu)
                if by_inputs:
                    samples = replace(samples, inputs=with_gradients(samples.inputs))
                outputs = run_model(model, samples.inputs, part)
                evaluation = evaluation or _Evaluation(model, outputs, extent, weighted)
                evaluation.add(outputs, samples, part)
    except (RuntimeError, IndexError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        detail = f"The model can't be evaluated on these rows: {error}"
        raise InvalidRequest(detail, [FieldError("#", detail)]) from None
    raw.errors.raise_if_any()
    assert evaluation is not None  # data have at least one row
    if evaluation.has_no_weight:
        raise InvalidRequest(errors=[_without_loss(encoding, raw, weighted)])
    rows = {"rows": len(raw.rows), "dropped": raw.dropped}
    return {"epoch": model.epoch, **rows, **evaluation.document(raw, ids)}


def _without_loss(encoding: Encoding, raw: RawRows, weighted: bool) -> FieldError:
    """Explain why the loss has no value on any of the rows."""
    if encoding.ignored is not None and not weighted:
        detail = f"All targets are {encoding.ignored}, which is no class (`ignore_index`): there is no loss."
        return FieldError(raw.column_pointer((*encoding.targets, TARGETS)[0]), detail)
    pointer = raw.column_pointer(encoding.weights or WEIGHTS) if weighted else "#"
    return FieldError(pointer, "All weights are 0, or all targets are missing: the loss has no value.")


class _Worst(NamedTuple):
    """Rows in descending order of their loss."""

    losses: Tensor  # [n]
    positions: Tensor  # int64 [n], among the rows of the evaluation
    outputs: tuple[Tensor, ...]  # [n, …] each, in the order of the model's outputs

    def select(self, rows: Tensor) -> "_Worst":
        """Return some of the rows, by an index or a mask."""
        return _Worst(self.losses[rows], self.positions[rows], tuple(each[rows] for each in self.outputs))


class _Evaluation:
    """Accumulates loss, metrics, reports and worst rows over slices of rows.

    Args:
        model: The model.
        outputs: Outputs of the model for the first rows, [B, …] by name.
        extent: What to report.
        weighted: Whether the rows have weights, which only the loss takes into account.

    Raises:
        InvalidRequest: A threshold is requested, but the model decides without one.
    """

    def __init__(self, model: TrainedModel, outputs: Outputs, extent: Extent, weighted: bool) -> None:
        roles = model.roles
        main = outputs[roles.main.output]
        self._model = model
        self._max_worst = extent.worst
        _, task, width = roles.main
        self._task = task
        if extent.threshold is not None and not has_threshold(task):
            detail = "A threshold applies to targets of 0 and 1 or of two classes; omit it for this model."
            raise InvalidRequest(errors=[FieldError("?threshold", detail)])
        self._masks_targets = model.encoding.masks_targets
        self._loss_fn = build_loss(model.training, model.encoding, width, weighted)
        unweighted = build_loss(model.training, replace(model.encoding, masks_targets=False), width)
        self._row_loss_fn = WeightedLoss(unweighted, self._masks_targets)
        chosen = {metric.name: metric for metric in model.training.metrics}
        if not chosen and roles.are_comparable(main, model.encoding):
            chosen = {name: MetricSpec(type=name) for name in USUAL_METRICS[task]}
        self._metrics: dict[str, Metric] = {}
        for name, metric in chosen.items():
            measured = roles.measured(name)
            self._metrics[name] = build_metric(metric, measured.task, measured.width, model.encoding)
        for built in self._metrics.values():
            if extent.threshold is not None and compares_with_threshold(built):
                set_threshold(built, extent.threshold)
        self._units = TargetUnits.of(model.encoding, task, model.training.loss, chosen, weighted)
        if self._units is not None:
            self._metrics |= self._units.build_metrics(lambda name: roles.measured(name).width)
        self._threshold = THRESHOLD if extent.threshold is None else extent.threshold
        classes = class_names(model, task, main) or []
        self._counts = (
            Counts(model, task, classes, self._threshold) if 0 < len(classes) <= MAX_CLASSES else None
        )
        has_curves = extent.curves and 0 < len(classes) <= MAX_CURVE_CLASSES
        has_curves = has_curves and (task != "multiclass" or main.dim() == 2)
        self._curves = Curves(model, task, classes) if has_curves else None
        names = output_names(model.encoding)
        has_residuals = model.training.loss.type in ERROR_LOSSES and len(names) <= MAX_TARGETS
        self._residuals = Residuals(model.encoding, names) if has_residuals else None
        self._far = FarInputs(model.encoding)
        self._rows = 0
        self._losses = MeanLoss()
        self._worst: _Worst | None = None

    def add(self, outputs: Outputs, samples: Samples, raw: RawRows) -> None:
        """Add the next rows: the model's outputs [B, …] by name, the encoded samples and the raw rows."""
        model = self._model
        predicted = model.roles.predicted(outputs, samples.inputs)
        targets = samples.targets
        self._far.add(samples.inputs, raw)
        first, self._rows = self._rows, self._rows + len(targets)
        self._losses.add(
            self._loss_fn(predicted, *samples.loss_arguments).detach(),
            loss_weight(self._loss_fn, samples, self._model.loss.ignores),
        )
        row_losses = self._row_loss_fn.row_losses(predicted, targets) if model.loss.by_row else None
        outputs = {name: output.detach().float() for name, output in outputs.items()}
        model.roles.update_metrics(self._metrics, model.loss, outputs, targets, self._masks_targets)
        main = outputs[model.roles.main.output]
        for report in (self._counts, self._curves):
            if report is not None:
                report.add(main, targets)
        if self._residuals is not None:
            self._residuals.add(main, target_values(model.encoding, raw))
        if row_losses is None:
            return
        rows = _Worst(row_losses.detach().float(), torch.arange(first, self._rows), tuple(outputs.values()))
        if self._model.loss.ignores:
            counted = (targets != IGNORED).reshape(len(targets), -1).any(dim=1)  # [B]
            rows = rows.select(counted)
        self._keep_worst(rows)

    def _keep_worst(self, new: _Worst) -> None:
        if self._worst is not None:
            old = self._worst
            new = _Worst(
                torch.cat([old.losses, new.losses]),
                torch.cat([old.positions, new.positions]),
                tuple(map(torch.cat, zip(old.outputs, new.outputs, strict=True))),
            )
        # NaN sorts as the highest; the sort is stable, so equal losses keep the order of their rows.
        order = new.losses.sort(descending=True, stable=True).indices[: self._max_worst]
        self._worst = new.select(order)

    @property
    def has_no_weight(self) -> bool:
        """True if all weights are 0, or all targets are missing or ignored."""
        self._losses.total()
        return self._losses.weight == 0

    @torch.inference_mode()
    def document(self, raw: RawRows, ids: RowIds | None) -> dict[str, Any]:
        """Compute the results over all rows added so far, which are those of `raw`."""
        counts = self._counts
        metrics = {name: compute_and_reset(metric) for name, metric in self._metrics.items()}
        return {
            **evaluation_document(self._units, self._losses.mean(), metrics),
            "threshold": self._threshold if has_threshold(self._task) else None,
            "per_class": None if counts is None else counts.per_class(),
            "confusion_matrix": None if counts is None else counts.confusion_matrix(),
            "curves": None if self._curves is None else self._curves.document(),
            "residuals": None if self._residuals is None else self._residuals.document(),
            "worst": [] if self._worst is None else self._describe_worst(self._worst, raw, ids),
            **({"warnings": warnings} if (warnings := [*map(vars, self._warnings(raw))]) else {}),
        }

    def _warnings(self, raw: RawRows) -> list[FieldError]:
        """Return what is doubtful about the results."""
        detail = without_units(self._model.encoding, self._task)
        found = [] if detail is None else [FieldError("#", detail)]
        return [*found, *self._far.warnings(raw)]

    def _describe_worst(self, worst: _Worst, raw: RawRows, ids: RowIds | None) -> list[dict[str, Any]]:
        """Describe each row by its number, ids, loss, target and prediction."""
        rows = as_tensor(raw.rows)[worst.positions]
        by_name = dict(zip(self._model.layout.names, worst.outputs, strict=True))
        answer = describe_outputs(self._model, by_name, self._threshold)
        outputs = answer["outputs"]
        columns = {
            "row": rows.tolist(),
            "ids": _by_row({} if ids is None else ids.of(rows)),
            "loss": worst.losses.tolist(),
            "target": self._targets(raw._replace(rows=rows)),
            "output": outputs if self._model.layout.is_single else _by_row(outputs),
            "label": answer.get("labels"),
            "probabilities": answer.get("probabilities"),
        }
        columns = {name: values for name, values in columns.items() if values is not None}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _targets(self, raw: RawRows) -> list[Any]:
        """Return labels or, for numbers, the values that were sent: a decoded float32 differs from them."""
        encoding = self._model.encoding
        if encoding.classes is not None or encoding.column_classes:
            encoded = encode(encoding, raw, inputs=False, targets=True).targets
            assert encoded is not None
            if encoding.column_classes:
                return column_labels(encoding, encoded.nan_to_num(-1).long())
            numbers = encoded.flatten() if encoding.is_binary else encoded
            return labels_of(encoding.classes or (), positions_of(encoding, numbers).tolist())
        values = target_values(encoding, raw)
        if has_threshold(self._task) and not (values % 1).nan_to_num().any():
            return _integers(values.tolist())  # 0 and 1, like the labels
        return list(values.tolist())


def _by_row(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]] | None:
    """Convert columns to an object for each row; None without columns."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return rows or None


def _integers(values: list[Any]) -> list[Any]:
    """Convert whole numbers, in nested lists, to integers; null for a missing one."""
    return [
        _integers(value) if isinstance(value, list) else (None if math.isnan(value) else int(value))
        for value in values
    ]
