"""Loss and metrics of a regression in the units of its targets, where targets are transformed.

Both are functions of the values in these units. Where all targets are on one scale, a · value + b, errors are
a times as large: the squared error is a² times that of the transformed values, R² is the same. Such a value
is derived from the one that training computes anyway. Every other one is computed, in float64, from outputs
and targets that are converted to the units of the targets: for `log1p`, for several scales, and for losses
with a threshold (`HuberLoss`), whose `delta` is then in these units.

After a transform that maps different values to one (`clip`), encoded targets don't tell the values that were
sent, so that there are no such figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from service.datasets.prepare.encoding import (
    TARGETS,
    Encoding,
    has_target_transforms,
    lossy_target_transforms,
)
from service.datasets.transforms.fitted import Affine
from service.datasets.transforms.pipeline import inverse_steps
from service.history import IN_TARGET_UNITS, LOSS, HistoryChunk
from service.specs.component import ComponentSpec, MetricSpec
from service.specs.training import TrainingSpec
from service.training.losses import LOSSES
from service.training.metrics import METRICS, Task, build_metric
from service.training.unit_metrics import InTargetUnits, MeanLoss

# Losses that are functions of output − target alone, so that they have a meaning in other units too.
ERROR_LOSSES = frozenset({"HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss"})
_LOSS_POWERS = {"L1Loss": 1, "MSELoss": 2}
_METRIC_POWERS = {
    "mean_absolute_error": 1,
    "mean_squared_error": 2,
    "r2_score": 0,
    "explained_variance": 0,
}


def _inverse_chains(encoding: Encoding) -> list[list[Affine]]:
    return [inverse_steps(encoding.transforms_of(name)) for name in encoding.targets or (TARGETS,)]


@dataclass(frozen=True)
class TargetUnits:
    """The loss and the metrics of a training that have values in the units of the targets.

    Attributes:
        encoding: The encoding of the job.
        loss: The loss.
        metrics: The metrics by name.
        powers: For each derived value, the power of the targets' scale by which it is multiplied.
        computed: Names of the computed values.
    """

    encoding: Encoding
    loss: ComponentSpec
    metrics: Mapping[str, MetricSpec]
    powers: Mapping[str, int]
    computed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        encoding: Encoding,
        task: Task,
        loss: ComponentSpec,
        metrics: Mapping[str, MetricSpec],
        weighted: bool = False,
    ) -> Self | None:
        """Return the units of a training; None without transformed numbers, or if they can't be restored.

        Args:
            encoding: The encoding of the job.
            task: The task that its metrics are computed for.
            loss: The loss.
            metrics: The metrics by name.
            weighted: Whether rows have weights in the loss. As metrics have none, it is not computed then.
        """
        if task != "regression" or not has_target_transforms(encoding) or lossy_target_transforms(encoding):
            return None
        chains = _inverse_chains(encoding)
        scales = {abs(steps[0].factor) for steps in chains}
        is_affine = all(len(steps) == 1 for steps in chains)
        powers = {name: _power(metric) for name, metric in metrics.items()}
        if loss.type in ERROR_LOSSES:
            powers = {LOSS: _LOSS_POWERS.get(loss.type), **powers}
        derived = {
            name: power
            for name, power in powers.items()
            if power is not None and is_affine and (len(scales) == 1 or power == 0)
        }
        computed = [name for name in powers if name not in derived and not (weighted and name == LOSS)]
        return cls(encoding, loss, metrics, derived, tuple(computed))

    @property
    def chains(self) -> list[list[Affine]]:
        """The inverse of the transforms of each target, see `inverse_steps`; one for tensors."""
        return _inverse_chains(self.encoding)

    @property
    def steps(self) -> int:
        """The maximum number of affine steps that invert the transforms of a target."""
        return max(map(len, self.chains))

    @property
    def _scale(self) -> float:
        return abs(self.chains[0][0].factor)

    def build_metrics(self, width: Callable[[str], int]) -> dict[str, Metric]:
        """Construct the metrics of the computed values, by name with the suffix `IN_TARGET_UNITS`.

        Args:
            width: Returns the size in dimension 1 of the output of a metric by name, or of the loss.
        """
        return {
            name + IN_TARGET_UNITS: InTargetUnits(self._build(name, width(name)), self.encoding)
            for name in self.computed
        }

    def _build(self, name: str, outputs: int) -> Metric:
        if name != LOSS:
            return build_metric(self.metrics[name], "regression", outputs, self.encoding)
        loss_fn = LOSSES[self.loss.type].constructor(arguments=self.loss.arguments())
        loss_fn.reduction = "sum"
        return MeanLoss(loss_fn)

    def derive(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the derived values of one or more epochs.

        Args:
            values: Numbers or arrays by name, see `history_columns`.
        """
        return {
            f"{split}_{name}{IN_TARGET_UNITS}": self._scale**power * values[f"{split}_{name}"]
            for name, power in self.powers.items()
            for split in ("train", "validation")
        }

    def extend(self, history: HistoryChunk) -> HistoryChunk:
        """Append the derived values of each epoch to a history, which has the computed ones."""
        derived = self.derive(dict(zip(history.columns, history.values, strict=True)))
        if not derived:
            return history
        values = np.concatenate([history.values, np.stack([*derived.values()])])
        return HistoryChunk(history.first_epoch, (*history.columns, *derived), values)

    def document(self, loss: float, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Return loss and metrics of an evaluation in the units of the targets.

        Args:
            loss: The loss of the transformed values.
            metrics: Metrics of the transformed values, and the computed values of `build_metrics`.
        """
        plain = {**metrics, LOSS: loss}
        values = {name: self._scale**power * plain[name] for name, power in self.powers.items()}
        values |= {name: metrics[name + IN_TARGET_UNITS] for name in self.computed}
        loss_value = {LOSS: values[LOSS]} if LOSS in values else {}
        return {**loss_value, "metrics": {name: values[name] for name in self.metrics}}


def target_units(encoding: Encoding, task: Task, training: TrainingSpec) -> TargetUnits | None:
    """Return the units of a training with the metrics of its spec; see `TargetUnits.of`."""
    metrics = {metric.name: metric for metric in training.metrics}
    return TargetUnits.of(encoding, task, training.loss, metrics, encoding.weights is not None)


def variances_in_target_units(encoding: Encoding, variances: Tensor) -> Tensor:
    """Convert variances [B, k] of the transformed targets; those behind a `log1p` stay as they are.

    Returns:
        float64 [B, k].
    """
    chains = _inverse_chains(encoding)
    if any(len(steps) > 1 for steps in chains):
        return variances.double()
    squares = torch.tensor([steps[0].factor ** 2 for steps in chains], dtype=torch.float64)  # [k] or [1]
    return variances.double() * squares


def without_units(encoding: Encoding, task: Task) -> str | None:
    """Return why a regression of transformed targets has no figures in their units; None if it has."""
    lossy = lossy_target_transforms(encoding)
    if task != "regression" or not lossy:
        return None
    reasons = " and ".join(f"`{each.type}` of `{each.column}` {each.lossy()}" for each in lossy)
    return (
        f"There are no loss and metrics in the units of the targets (`in_target_units`): {reasons}, which no "
        "inverse restores. Residuals and worst rows of an evaluation have the values that were sent."
    )


def _power(metric: MetricSpec) -> int | None:
    """Return the power of the scale by which a metric is multiplied; None if it is no multiple."""
    resolved = METRICS[metric.type].classes["regression"].resolve(metric.arguments())
    if resolved.get("squared") is False:  # the root of the mean squared error
        return 1
    if resolved.get("multioutput", "uniform_average") != "uniform_average":
        return None  # weighted by the variance of each output
    return _METRIC_POWERS.get(metric.type)


def evaluation_document(
    units: TargetUnits | None, loss: float, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Return loss and metrics of an evaluation as JSON, with `in_target_units` where targets are transformed.

    Args:
        units: The units of the training.
        loss: The loss.
        metrics: Metrics by name, with those of `TargetUnits.build_metrics`.
    """
    plain = {name: value for name, value in metrics.items() if not name.endswith(IN_TARGET_UNITS)}
    document = {"loss": loss, "metrics": plain}
    return document if units is None else {**document, "in_target_units": units.document(loss, metrics)}
