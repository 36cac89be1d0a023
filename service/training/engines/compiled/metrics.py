"""Metrics as sums over batches.

A loop can carry a fixed number of sums, but no list of predictions: a metric is compiled if its value is a
function of sums over samples. The sums are float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from service.datasets.prepare.encoding import IGNORED
from service.history import LOSS
from service.specs.component import ComponentSpec
from service.training.losses import LOSSES
from service.training.metrics import THRESHOLD, Task

Sums = Array  # float64 [k] or [k, outputs]


@dataclass(frozen=True)
class SummedMetric:
    """A metric of torchmetrics with its default arguments.

    Attributes:
        add: (outputs, targets, origin) -> the sums of a batch. The origin is one target of the samples, the
            same for all batches, about which targets may be summed.
        value: (sums over all batches) -> the metric, float64 [].
        in_target_units: Whether it is a metric of values in the units of the targets.
    """

    add: Callable[[Array, Array, Array], Sums]
    value: Callable[[Sums], Array]
    in_target_units: bool = False


def _double(x: Array) -> Array:
    return x.astype(jnp.float64)


Measure = Callable[[Array, Array], Array]


def _mean_of(measure: Measure, masks_targets: bool) -> SummedMetric:
    """Return the metric that is the mean of an elementwise measure, without missing targets if masked."""

    def add(outputs: Array, targets: Array, origin: Array) -> Sums:
        measured = _double(measure(outputs, targets))
        if masks_targets:
            present = ~jnp.isnan(targets)
            return jnp.stack([jnp.sum(jnp.where(present, measured, 0)), _double(jnp.sum(present))])  # [2]
        return jnp.stack([jnp.sum(measured), jnp.asarray(float(measured.size))])  # [2]

    return SummedMetric(add, _ratio)


def _ratio(sums: Sums) -> Array:
    return sums[0] / sums[1]


def _moments(outputs: Array, targets: Array, origin: Array) -> Sums:
    """Return count, Σ target, Σ target² and Σ error² for each output, float64 [4, outputs].

    The origin is subtracted from the targets first: otherwise Σ target² − (Σ target)² / count would lose
    digits where the mean of the targets is large relative to their spread.
    """
    errors, targets = _double(targets) - _double(outputs), _double(targets) - _double(origin)
    return jnp.stack([jnp.sum(x, axis=0) for x in (jnp.ones_like(targets), targets, targets**2, errors**2)])


def _r2(sums: Sums) -> Array:
    """Compute R² as `r2_metrics.R2Score` does: the mean over outputs, NaN for fewer than 2 rows."""
    count, total, squares, unexplained = sums  # each [outputs]
    spread = squares - total * total / count
    explained = jnp.where(spread > 0, 1 - unexplained / spread, (unexplained == 0).astype(jnp.float64))
    return jnp.mean(jnp.where(count < 2, jnp.nan, explained))


def _right_classes(outputs: Array, targets: Array, origin: Array) -> Sums:
    """Return the numbers of rows of the right class and of rows that are not `IGNORED`, float64 [2]."""
    if jnp.issubdtype(targets.dtype, jnp.floating):  # soft labels
        targets = jnp.argmax(targets, axis=1)
    right = jnp.argmax(outputs, axis=1) == targets
    return jnp.stack([jnp.sum(_double(each)) for each in (right, targets != IGNORED)])


def _right_sign(probabilities: Callable[[Array], Array]) -> Measure:
    def is_right(outputs: Array, targets: Array) -> Array:
        return (probabilities(outputs) >= THRESHOLD) == (targets >= THRESHOLD)

    return is_right


def _absolute_error(outputs: Array, targets: Array) -> Array:
    return jnp.abs(outputs - targets)


def _squared_error(outputs: Array, targets: Array) -> Array:
    return (outputs - targets) ** 2


_PROBABILITIES: Mapping[str, Callable[[Array], Array]] = {
    "BCELoss": lambda outputs: outputs,
    "BCEWithLogitsLoss": jax.nn.sigmoid,
    "MultiLabelSoftMarginLoss": jax.nn.sigmoid,
}


def metric_in_target_units(
    name: str, loss: ComponentSpec, masks_targets: bool = False
) -> SummedMetric | None:
    """Return a metric, or the loss, of values in the units of the targets; None if it is not compiled.

    Args:
        name: The metric's name, or `loss`.
        loss: The loss, one of `ERROR_LOSSES`.
        masks_targets: Whether targets that are NaN are missing.
    """
    if name == LOSS:
        metric: SummedMetric | None = _mean_of(_loss_measure(loss), masks_targets)
    else:
        metric = summed_metric(name, "regression", loss.type, masks_targets)
    return None if metric is None else replace(metric, in_target_units=True)


def _loss_measure(loss: ComponentSpec) -> Measure:
    """Return a loss of the error, with the formula of PyTorch's documentation."""
    arguments = LOSSES[loss.type].constructor.resolve(loss.arguments())

    def huber(outputs: Array, targets: Array) -> Array:
        error, delta = jnp.abs(outputs - targets), arguments["delta"]
        return jnp.where(error < delta, 0.5 * error**2, delta * (error - 0.5 * delta))

    def smooth_l1(outputs: Array, targets: Array) -> Array:
        error, beta = jnp.abs(outputs - targets), arguments["beta"]
        return jnp.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta) if beta else error

    measures: Mapping[str, Measure] = {
        "L1Loss": _absolute_error,
        "MSELoss": _squared_error,
        "HuberLoss": huber,
        "SmoothL1Loss": smooth_l1,
    }
    return measures[loss.type]


def summed_metric(name: str, task: Task, loss: str, masks_targets: bool = False) -> SummedMetric | None:
    """Return the metric of a task as sums; None if it is not a sum, or is not compiled.

    Args:
        name: The metric's name.
        task: The task that it measures.
        loss: The name of the loss, which decides how outputs become probabilities.
        masks_targets: Whether targets that are NaN are missing.
    """
    if name == "accuracy" and task == "multiclass":
        return SummedMetric(_right_classes, _ratio)
    if name == "accuracy" and task == "binary":
        return _mean_of(_right_sign(_PROBABILITIES[loss]), masks_targets)
    if name == "r2_score" and task == "regression" and not masks_targets:
        return SummedMetric(_moments, _r2)
    return _mean_of(_ERRORS[name], masks_targets) if task == "regression" and name in _ERRORS else None


_ERRORS: Mapping[str, Measure] = {
    "mean_absolute_error": _absolute_error,
    "mean_squared_error": _squared_error,
}
