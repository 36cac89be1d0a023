"""Metrics as sums over batches: what a batch adds, and the value of the sums."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from service.training.metrics import Task

Sums = Array  # float64 [k] or [k, outputs]


@dataclass(frozen=True)
class SummedMetric:
    """A metric of torchmetrics, with its default arguments, on sums.

    Attributes:
        add: a batch's outputs and targets to sums, about a target of them all (the origin).
        value: the added-up sums to the metric, float64 [].
    """

    add: Callable[[Array, Array, Array], Sums]
    value: Callable[[Sums], Array]


def _double(x: Array) -> Array:
    return x.astype(jnp.float64)


def _mean_of(measure: Callable[[Array, Array], Array]) -> SummedMetric:
    """The mean of something measured on each element."""

    def add(outputs: Array, targets: Array, origin: Array) -> Sums:
        measured = _double(measure(outputs, targets))
        return jnp.stack([jnp.sum(measured), jnp.asarray(float(measured.size))])

    return SummedMetric(add, lambda sums: sums[0] / sums[1])


def _moments(outputs: Array, targets: Array, origin: Array) -> Sums:
    """The count of rows and, for each output, the sums of targets, of their squares and of squared errors.

    Targets are those about the origin: no digits are lost where their mean is large beside their spread.
    """
    errors, targets = _double(targets) - _double(outputs), _double(targets) - _double(origin)
    return jnp.stack([jnp.sum(x, axis=0) for x in (jnp.ones_like(targets), targets, targets**2, errors**2)])


def _r2(sums: Sums) -> Array:
    """As `explained.R2Score` has it."""
    count, total, squares, unexplained = sums
    spread = squares - total * total / count
    explained = jnp.where(spread > 0, 1 - unexplained / spread, (unexplained == 0).astype(jnp.float64))
    return jnp.mean(jnp.where(count < 2, jnp.nan, explained))


def _right_class(outputs: Array, targets: Array) -> Array:
    return jnp.argmax(outputs, axis=1) == targets


def _right_sign(probabilities: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    def right(outputs: Array, targets: Array) -> Array:
        return (probabilities(outputs) > 0.5) == (targets > 0.5)

    return right


def _absolute_error(outputs: Array, targets: Array) -> Array:
    return jnp.abs(outputs - targets)


def _squared_error(outputs: Array, targets: Array) -> Array:
    return (outputs - targets) ** 2


_PROBABILITIES: Mapping[str, Callable[[Array], Array]] = {
    "BCELoss": lambda outputs: outputs,
    "BCEWithLogitsLoss": jax.nn.sigmoid,
    "MultiLabelSoftMarginLoss": jax.nn.sigmoid,
}


def summed_metric(name: str, task: Task, loss: str) -> SummedMetric | None:
    """The metric of a task; None where there is no such sum, or none here."""
    if name == "accuracy" and task == "multiclass":
        return _mean_of(_right_class)
    if name == "accuracy" and task == "binary":
        return _mean_of(_right_sign(_PROBABILITIES[loss]))
    return _REGRESSION.get(name) if task == "regression" else None


_REGRESSION: Mapping[str, SummedMetric] = {
    "mean_absolute_error": _mean_of(_absolute_error),
    "mean_squared_error": _mean_of(_squared_error),
    "r2_score": SummedMetric(_moments, _r2),
}
