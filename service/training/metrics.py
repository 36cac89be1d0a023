"""The table of supported metrics: classes of torchmetrics by short name and task.

The formulas are those of https://lightning.ai/docs/torchmetrics; see `r2_metrics` for the two that differ.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor
from torchmetrics import Metric, classification, regression
from torchmetrics.utilities import dim_zero_cat

from service.datasets.prepare.encoding import IGNORED, Encoding
from service.specs.arguments import Constructor
from service.specs.component import MetricSpec
from service.training.concordance import ConcordanceIndex
from service.training.losses import Loss
from service.training.masked_metrics import MASKED, present_values
from service.training.r2_metrics import ExplainedVariance, R2Score
from service.training.unit_metrics import with_wrapped

Task = Literal["regression", "binary", "multiclass", "multilabel", "quantiles", "survival"]

THRESHOLD = 0.5
"""Minimum probability for which a binary prediction is 1, the default `threshold` of torchmetrics."""

# Arguments that follow from the model's outputs or have no meaning over HTTP.
_OMITTED = ("num_classes", "num_labels", "num_outputs", "validate_args", "multidim_average", "thresholds")
_AVERAGE = {"average": Literal["micro", "macro", "weighted"]}


@dataclass(frozen=True)
class MetricFamily:
    """A metric and the torchmetrics classes that compute it.

    Attributes:
        summary: One sentence for the catalog.
        classes: Constructor of the torchmetrics class for each task that the metric is defined for.
    """

    summary: str
    classes: Mapping[Task, Constructor]


def _family(
    summary: str, binary: type[Metric], multiclass: type[Metric], multilabel: type[Metric], average: str
) -> MetricFamily:
    def constructor(cls: type[Metric], **defaults: Any) -> Constructor:
        return Constructor(cls, _OMITTED, _AVERAGE, defaults)

    return MetricFamily(
        summary,
        {
            "binary": constructor(binary),
            "multiclass": constructor(multiclass, average=average),
            "multilabel": constructor(multilabel, average=average),
        },
    )


def _regression(summary: str, cls: type[Metric]) -> MetricFamily:
    return MetricFamily(summary, {"regression": Constructor(cls, _OMITTED)})


METRICS: Mapping[str, MetricFamily] = {
    "accuracy": _family(
        "Fraction of correct predictions.",
        classification.BinaryAccuracy,
        classification.MulticlassAccuracy,
        classification.MultilabelAccuracy,
        average="micro",
    ),
    "precision": _family(
        "Fraction of correct predictions among the positive ones.",
        classification.BinaryPrecision,
        classification.MulticlassPrecision,
        classification.MultilabelPrecision,
        average="macro",
    ),
    "recall": _family(
        "Fraction of the positive targets that are predicted as positive.",
        classification.BinaryRecall,
        classification.MulticlassRecall,
        classification.MultilabelRecall,
        average="macro",
    ),
    "f1_score": _family(
        "Harmonic mean of precision and recall.",
        classification.BinaryF1Score,
        classification.MulticlassF1Score,
        classification.MultilabelF1Score,
        average="macro",
    ),
    "auroc": _family(
        "Area under the receiver operating characteristic curve.",
        classification.BinaryAUROC,
        classification.MulticlassAUROC,
        classification.MultilabelAUROC,
        average="macro",
    ),
    "concordance_index": MetricFamily(
        "Fraction of comparable pairs whose order is predicted.",
        {"survival": Constructor(ConcordanceIndex, _OMITTED)},
    ),
    "explained_variance": _regression("1 − Var(error) / Var(target).", ExplainedVariance),
    "mean_absolute_error": _regression("Mean of |error|.", regression.MeanAbsoluteError),
    "mean_absolute_percentage_error": _regression(
        "Mean of |error / target|.", regression.MeanAbsolutePercentageError
    ),
    "mean_squared_error": _regression("Mean of error².", regression.MeanSquaredError),
    "r2_score": _regression("1 − Σ error² / Σ (target − mean)².", R2Score),
}

USUAL_METRICS: Mapping[Task, tuple[str, ...]] = {
    "regression": ("mean_absolute_error", "r2_score"),
    "binary": ("accuracy", "auroc"),
    "multiclass": ("accuracy", "f1_score"),
    "multilabel": ("accuracy", "f1_score"),
    "quantiles": (),
    "survival": ("concordance_index",),
}


def tasks_of(loss: Loss | None) -> tuple[Task, ...]:
    """Return the tasks that a loss can be for; all tasks if the loss is None."""
    if loss is None:
        return get_args(Task)
    if loss.task is not None:
        return (loss.task,)
    if loss.targets == "classes":
        return ("multiclass",)
    return ("regression",) if loss.probabilities is None else ("binary", "multilabel")


def task_of(loss: Loss, outputs: int) -> Task:
    """Return the task of a training.

    Args:
        loss: The loss.
        outputs: Size of the model's output in dimension 1 (1 for outputs [B]).
    """
    tasks = tasks_of(loss)
    return tasks[0] if outputs == 1 else tasks[-1]


def metric_number_names(arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments of a metric that are numbers, such as `threshold`.

    Args:
        arguments: All arguments, see `Constructor.resolve`.
    """
    return [
        name
        for name, value in arguments.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def build_metric(metric: MetricSpec, task: Task, outputs: int, encoding: Encoding | None = None) -> Metric:
    """Construct a metric, to be updated by `update_metrics`.

    Args:
        metric: Its valid spec.
        task: The task that it measures; it must be defined for it.
        outputs: Size of the output that it measures in dimension 1.
        encoding: Encoding of the data: `ignore_index` is a label of its classes, and missing targets may be
            masked. None where it is an index, and none is missing.
    """
    arguments = _encoded(metric.arguments(), encoding)
    sizes: dict[Task, dict[str, int]] = {
        "multiclass": {"num_classes": outputs},
        "multilabel": {"num_labels": outputs},
    }
    constructor = METRICS[metric.type].classes[task]
    resolved = {**constructor.resolve(arguments), **sizes.get(task, {})}
    target: Any = constructor.target
    if encoding is not None and encoding.masks_targets:
        target = MASKED.get(target, target)
        if task == "multilabel" and resolved.get("ignore_index") is None:
            resolved["ignore_index"] = _MISSING_LABEL
    built: Metric = target(**resolved)
    threshold = getattr(built, "threshold", None)
    if threshold is not None:
        set_threshold(built, threshold)
    return built


def _encoded(arguments: Mapping[str, Any], encoding: Encoding | None) -> Mapping[str, Any]:
    """Replace an integer label in `ignore_index` by the output of its class."""
    label = arguments.get("ignore_index")
    if label is None or encoding is None:
        return arguments
    values = encoding.values_by_class
    if not values or any(isinstance(value, str | bool) for value in values):
        return arguments
    outputs = dict(zip(values, encoding.outputs_by_class, strict=True))
    return {**arguments, "ignore_index": outputs.get(label)}  # no row has a label that is no class


_MISSING_LABEL = -1


def update_metrics(
    metrics: Iterable[Metric],
    loss: Loss,
    task: Task,
    outputs: Tensor,
    targets: Tensor,
    masks_targets: bool = False,
) -> None:
    """Update metrics of one output with a batch, unless none of its rows counts.

    Args:
        metrics: Metrics of `build_metric`.
        loss: The loss.
        task: The task that they measure.
        outputs: The output of the model that they compare with the targets, [B, …].
        targets: Targets of the loss, [B, …].
        masks_targets: Whether targets that are NaN are missing, and left out.
    """
    predictions, expected = metric_inputs(loss, task, outputs, targets)
    for metric in metrics:
        values = predictions, expected
        if masks_targets:
            values = _present(metric, task, *values, targets.reshape(expected.shape).isnan())
        if len(values[0]):
            metric.update(*values)


def has_threshold(metric: Metric) -> bool:
    """Return whether a metric compares probabilities with a threshold."""
    return hasattr(metric, "threshold")


def set_threshold(metric: Metric, threshold: float) -> None:
    """Set the minimum probability for which a prediction is 1.

    torchmetrics predicts 1 for a probability above its own threshold: the next smaller float32.
    """
    metric.threshold = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def _present(
    metric: Metric, task: Task, predictions: Tensor, expected: Tensor, missing: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the arguments of `update` without the targets that are missing, bool [B, …]."""
    if task == "multilabel":
        return predictions, expected.masked_fill(missing, getattr(metric, "ignore_index", _MISSING_LABEL))
    if task == "regression":
        return present_values(metric, predictions, expected)
    return predictions[~missing], expected[~missing]


def metric_inputs(loss: Loss, task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Convert outputs and targets to the arguments of a metric's `update`.

    Args:
        loss: The loss.
        task: The task of the training.
        outputs: Outputs of the model, [B, …].
        targets: Targets of the loss, [B, …].

    Returns:
        Predictions and targets: probabilities [B] with int32 [B] (binary), probabilities [B, k] with int32
        [B, k] (multilabel), scores [B, k] with int64 [B] (multiclass, without targets that are `IGNORED`), or
        values [B, …] (regression).
    """
    outputs = outputs.detach().float().contiguous()  # some metrics call `view`
    predictions = loss.probabilities(outputs) if loss.probabilities else outputs
    if task == "binary":
        return predictions.reshape(-1), (targets.reshape(-1) >= THRESHOLD).int()  # [B, 1] or [B] -> [B]
    if task == "multilabel":
        return predictions, (targets >= THRESHOLD).int()
    if task == "regression":
        return flat_values(predictions, targets)
    if task == "survival":
        return predictions, targets
    if targets.is_floating_point():  # soft labels
        targets = targets.argmax(dim=1)
    if targets.dim() > 1:  # [B, k, d1, …] and [B, d1, …]: each position is a row
        predictions = predictions.movedim(1, -1).reshape(-1, predictions.shape[1])
        targets = targets.reshape(-1)
    if loss.ignores and (ignored := targets == IGNORED).any():
        return predictions[~ignored], targets[~ignored]
    return predictions, targets


def flat_values(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten the values of a regression for its metrics: [B, …] of more than two dimensions -> [B, k]."""
    if targets.dim() > 2:
        return outputs.flatten(1), targets.flatten(1)
    return outputs, targets


def compute_and_reset(metric: Metric) -> float:
    """Return a metric's value and reset it; NaN if it is undefined (R² of one sample, AUROC of one class)."""
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            value = float(metric.compute())
    except (ValueError, UserWarning):  # torchmetrics warns of some undefined values and returns 0
        value = math.nan
    metric.reset()
    return value


def metric_states(metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """Return the states of the metrics that were updated since their reset, by `<metric>/<state>`."""
    return {
        f"{name}/{state}": dim_zero_cat(value)
        for name, metric in with_wrapped(metrics).items()
        if metric.update_called
        for state, value in metric.metric_state.items()
    }


def restore_metrics(metrics: Mapping[str, Metric], states: Mapping[str, Tensor]) -> None:
    """Restore the states returned by `metric_states`."""
    by_name = with_wrapped(metrics)
    for path, value in states.items():
        name, _, state = path.partition("/")
        metric = by_name[name]
        own = value.to(metric.device, copy=True)  # the metric updates it in place
        setattr(metric, state, [own] if isinstance(getattr(metric, state), list) else own)
        metric._update_count = 1  # `compute` warns of a metric that was never updated
