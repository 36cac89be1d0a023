"""Metrics of a regression as sums over batches, with the formulas of torchmetrics and `r2_metrics`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from service.specs.component import ComponentSpec
from service.training.engines.compiled.metric import Compared, Numbers, SummedMetric, double
from service.training.losses import LOSSES

Measure = Callable[[Array, Array], Array]
_LEAST_TARGET = 1.17e-6  # the least divisor of a percentage error, that of torchmetrics
_ROUNDING = 1e-13  # relative error of a sum of squares


def mean_of(measure: Measure, finish: Callable[[Array], Array] = lambda mean: mean) -> SummedMetric:
    """Return the metric that is the mean of an elementwise measure.

    Args:
        measure: (predictions, targets) -> values of their shape.
        finish: A function of the mean.
    """

    def sums(batch: Compared, numbers: Numbers) -> Array:
        measured = double(measure(batch.predictions, batch.targets))
        return jnp.stack([jnp.sum(jnp.where(batch.counts, measured, 0)), double(jnp.sum(batch.counts))])

    return SummedMetric(sums, lambda sums, numbers: finish(sums[0] / sums[1]))


def absolute_error(predictions: Array, targets: Array) -> Array:
    """Return |error|."""
    return jnp.abs(predictions - targets)


def squared_error(predictions: Array, targets: Array) -> Array:
    """Return error²."""
    return (predictions - targets) ** 2


def _percentage_error(predictions: Array, targets: Array) -> Array:
    return jnp.abs(predictions - targets) / jnp.maximum(jnp.abs(targets), _LEAST_TARGET)


def _moments(batch: Compared, numbers: Numbers) -> Array:
    """Return count, Σ target, Σ target², Σ error and Σ error² for each output, float64 [5, outputs].

    The origin is subtracted from the targets first: otherwise Σ target² − (Σ target)² / count would lose
    digits where the mean of the targets is large relative to their spread.
    """
    errors = double(batch.targets) - double(batch.predictions)
    targets = double(batch.targets) - double(batch.origin)
    columns = (jnp.ones_like(targets), targets, targets**2, errors, errors**2)
    return jnp.stack([jnp.sum(jnp.where(batch.counts, x, 0), axis=0) for x in columns])


def _aggregated(scores: Array, weights: Array, multioutput: str) -> Array:
    """Aggregate over outputs: the mean, or weighted by the variance of the targets."""
    if multioutput == "variance_weighted":
        return jnp.sum(weights * scores) / jnp.sum(weights)
    return jnp.mean(scores)


def _r2(multioutput: str) -> SummedMetric:
    """Return R² as `r2_metrics.R2Score` computes it, NaN for fewer rows than it needs."""

    def value(sums: Array, numbers: Numbers) -> Array:
        count, total, squares, _, unexplained = sums  # each [outputs]
        degrees = count - numbers["adjusted"] - 1
        spread = squares - total * total / count
        explained = jnp.where(spread > 0, 1 - unexplained / spread, double(unexplained == 0))
        adjusted = 1 - (1 - explained) * (count - 1) / degrees
        undefined = jnp.any((count < 2) | (degrees <= 0))
        return jnp.where(undefined, jnp.nan, _aggregated(adjusted, spread, multioutput))

    return SummedMetric(_moments, value)


def _explained_variance(multioutput: str, masks_targets: bool) -> SummedMetric:
    """Return 1 − Var(error) / Var(target) as `r2_metrics.ExplainedVariance` computes it."""

    def value(sums: Array, numbers: Numbers) -> Array:
        total, squares, errors, squared_errors = sums[1:] / sums[0]  # means, [outputs] each
        unexplained, spread = squared_errors - errors**2, squares - total**2
        # A constant error has no variance, though its sums may round to a little.
        varies = unexplained > _ROUNDING * squared_errors
        score = jnp.where(varies, jnp.where(spread != 0, 1 - unexplained / spread, 0), 1)
        undefined = jnp.any(sums[0] < (2 if masks_targets else 1))
        return jnp.where(undefined, jnp.nan, _aggregated(score, spread, multioutput))

    return SummedMetric(_moments, value)


def regression_metric(name: str, arguments: Mapping[str, Any], masks_targets: bool) -> SummedMetric:
    """Return a metric of a regression.

    Args:
        name: The metric's name.
        arguments: All its arguments; numbers are read from those of the job instead.
        masks_targets: Whether targets that are NaN are missing.
    """
    match name:
        case "mean_absolute_error":
            return mean_of(absolute_error)
        case "mean_absolute_percentage_error":
            return mean_of(_percentage_error)
        case "mean_squared_error":
            return mean_of(squared_error, jnp.sqrt if arguments["squared"] is False else lambda mean: mean)
        case "r2_score":
            return _r2(arguments["multioutput"])
        case "explained_variance":
            return _explained_variance(arguments["multioutput"], masks_targets)
    raise KeyError(name)


def loss_in_units(loss: ComponentSpec) -> SummedMetric:
    """Return the mean of a loss of the error, with the formula of PyTorch's documentation."""
    arguments = LOSSES[loss.type].constructor.resolve(loss.arguments())

    def huber(predictions: Array, targets: Array) -> Array:
        error, delta = jnp.abs(predictions - targets), arguments["delta"]
        return jnp.where(error < delta, 0.5 * error**2, delta * (error - 0.5 * delta))

    def smooth_l1(predictions: Array, targets: Array) -> Array:
        error, beta = jnp.abs(predictions - targets), arguments["beta"]
        return jnp.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta) if beta else error

    measures: Mapping[str, Measure] = {
        "L1Loss": absolute_error,
        "MSELoss": squared_error,
        "HuberLoss": huber,
        "SmoothL1Loss": smooth_l1,
    }
    return mean_of(measures[loss.type])
