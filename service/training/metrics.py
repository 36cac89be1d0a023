"""The metrics of torchmetrics that a spec may name, by short name, for each kind of task."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor
from torchmetrics import Metric, classification, regression
from torchmetrics.utilities import dim_zero_cat

from service.specs.arguments import Constructor
from service.training.losses import Loss
from service.training.r2_metrics import ExplainedVariance, R2Score

Task = Literal["regression", "binary", "multiclass", "multilabel"]

LIKELY = 0.5
"""From this probability on, a target of 0 and 1 is more likely 1."""

# Known from the model's output, or meaningless over HTTP.
_OMITTED = ("num_classes", "num_labels", "num_outputs", "validate_args", "multidim_average", "thresholds")
_AVERAGE = {"average": Literal["micro", "macro", "weighted"]}


@dataclass(frozen=True)
class MetricFamily:
    """One metric by its short name, and the torchmetrics class that computes it for each task."""

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
        "Share of right predictions.",
        classification.BinaryAccuracy,
        classification.MulticlassAccuracy,
        classification.MultilabelAccuracy,
        average="micro",
    ),
    "precision": _family(
        "Share of the positive predictions that are right.",
        classification.BinaryPrecision,
        classification.MulticlassPrecision,
        classification.MultilabelPrecision,
        average="macro",
    ),
    "recall": _family(
        "Share of the positives that are found.",
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
        "Area under the receiver operating characteristic.",
        classification.BinaryAUROC,
        classification.MulticlassAUROC,
        classification.MultilabelAUROC,
        average="macro",
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
}


def tasks_of(loss: Loss | None) -> tuple[Task, ...]:
    """The kinds of task a loss is for; all of them while the loss is unknown."""
    if loss is None:
        return get_args(Task)
    if loss.targets == "classes":
        return ("multiclass",)
    return ("regression",) if loss.probabilities is None else ("binary", "multilabel")


def task_of(loss: Loss, outputs: int) -> Task:
    """The kind of task a loss and the width of the model's output make.

    Args:
        outputs: size of the output's dimension 1 (1 for outputs [B]).
    """
    tasks = tasks_of(loss)
    return tasks[0] if outputs == 1 else tasks[-1]


def build_metric(name: str, arguments: Mapping[str, Any], task: Task, outputs: int) -> Metric:
    """A metric that takes `(predictions, targets)` as `metric_inputs` gives them."""
    sizes: dict[Task, dict[str, int]] = {
        "multiclass": {"num_classes": outputs},
        "multilabel": {"num_labels": outputs},
    }
    metric: Metric = METRICS[name].classes[task](
        arguments=METRICS[name].classes[task].resolve(arguments), **sizes.get(task, {})
    )
    return metric


def metric_inputs(loss: Loss, task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Model outputs and targets as torchmetrics takes them: probabilities and int labels, or values."""
    outputs = outputs.detach().float().contiguous()  # some metrics take a view of them
    predictions = loss.probabilities(outputs) if loss.probabilities else outputs
    if task == "binary":
        return predictions.reshape(-1), (targets.reshape(-1) >= LIKELY).int()
    if task == "multilabel":
        return predictions, (targets >= LIKELY).int()
    if task == "regression" and targets.dim() > 2:
        return predictions.flatten(1), targets.flatten(1)
    return predictions, targets


def computed(metric: Metric) -> float:
    """The metric's value, NaN where it has none (R² of one sample, AUROC of one class); it starts anew."""
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            value = float(metric.compute())
    except (ValueError, UserWarning):  # torchmetrics warns, and puts 0 for what it can't know
        value = math.nan
    metric.reset()
    return value


def metric_states(metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """What metrics have taken in since they were reset, by `<metric>/<state>`."""
    return {
        f"{name}/{state}": dim_zero_cat(value)
        for name, metric in metrics.items()
        if metric.update_called
        for state, value in metric.metric_state.items()
    }


def restore_metrics(metrics: Mapping[str, Metric], states: Mapping[str, Tensor]) -> None:
    """Let metrics go on from what `metric_states` told."""
    for path, value in states.items():
        name, _, state = path.partition("/")
        metric = metrics[name]
        own = value.to(metric.device, copy=True)  # which the metric changes in place
        setattr(metric, state, [own] if isinstance(getattr(metric, state), list) else own)
        metric._update_count = 1  # without an update, `compute` warns
