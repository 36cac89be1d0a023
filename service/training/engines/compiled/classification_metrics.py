"""Metrics of a classification as counts of predictions, with the formulas of torchmetrics."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from service.training.engines.compiled.metric import Compared, Numbers, SummedMetric, double, ratio_or
from service.training.metrics import Task


class Counts(NamedTuple):
    """Numbers of predictions by class or label, float64 [k], or [] of all.

    Attributes:
        right: Positive targets that are predicted as positive.
        false_alarms: Negative targets that are predicted as positive.
        right_rejections: Negative targets that are predicted as negative.
        missed: Positive targets that are predicted as negative.
        rows: Rows that were compared, also those that `ignore_index` leaves out.
    """

    right: Array
    false_alarms: Array
    right_rejections: Array
    missed: Array
    rows: Array


def is_counted(batch: Compared, numbers: Numbers) -> Array:
    """Return which targets count, bool of their shape: those that no `ignore_index` leaves out."""
    ignored = numbers.get("ignore_index")
    return batch.counts if ignored is None else batch.counts & (batch.targets != ignored)


def _of_labels(batch: Compared, numbers: Numbers) -> Array:
    """Count by label, float64 [5, k], or [5] of a binary task."""
    # Compared in single precision, as torchmetrics does.
    predicted = batch.predictions > numbers["threshold"].astype(batch.predictions.dtype)
    return _counted(predicted, batch.targets == 1, batch, is_counted(batch, numbers))


def _of_classes(batch: Compared, numbers: Numbers) -> Array:
    """Count by class, float64 [5, k]; a class among the `top_k` of a row is predicted right."""
    scores, targets = batch.predictions, batch.targets  # [B, k] and int64 [B]
    classes = scores.shape[1]
    own = jnp.take_along_axis(scores, jnp.clip(targets, 0, classes - 1)[:, None], axis=1)  # [B, 1]
    is_right = jnp.argmax(scores, axis=1) == targets
    is_near = jnp.sum(scores > own, axis=1) < numbers["top_k"]  # [B]
    is_right |= (numbers["top_k"] > 1) & is_near
    predicted = jnp.where(is_right, targets, jnp.argmax(scores, axis=1))
    counts = is_counted(batch, numbers)[:, None]
    return _counted(
        jax.nn.one_hot(predicted, classes) > 0, jax.nn.one_hot(targets, classes) > 0, batch, counts
    )


def _counted(predicted: Array, positive: Array, batch: Compared, counts: Array) -> Array:
    """Stack the `Counts` of a batch, float64 [5, …]."""
    pairs = (predicted & positive, predicted & ~positive, ~predicted & ~positive, ~predicted & positive)
    found = [jnp.sum(double(pair & counts), axis=0) for pair in pairs]
    rows = jnp.broadcast_to(jnp.sum(double(batch.counts)), found[0].shape)
    return jnp.stack([*found, rows])


def classification_metric(name: str, task: Task, average: str | None) -> SummedMetric:
    """Return accuracy, precision, recall or F1.

    Args:
        name: The metric's name.
        task: Its task.
        average: `micro`, `macro` or `weighted`; None of a binary task.
    """
    score = _SCORES[name]
    is_by_class = task == "multiclass"

    def value(sums: Array, numbers: Numbers) -> Array:
        counts = Counts(*sums)
        undefined = jnp.max(counts.rows) == 0 if task != "multilabel" else False
        if average == "micro":
            counts = Counts(*(jnp.sum(count) for count in counts))
        scores = score(counts, numbers, is_by_class)
        if average in ("macro", "weighted"):
            weights = counts.right + counts.missed
            if average == "macro":
                weights = _is_present(counts, numbers, name) if is_by_class else jnp.ones_like(scores)
            scores = jnp.sum(ratio_or(weights * scores, jnp.sum(weights), 0))
        return jnp.where(undefined, jnp.nan, scores)

    return SummedMetric(_of_classes if is_by_class else _of_labels, value)


def _is_present(counts: Counts, numbers: Numbers, name: str) -> Array:
    """Return 1.0 for the classes [k] that count in a mean: with targets or, without `top_k`, predictions."""
    found = counts.right + counts.missed
    # torchmetrics forgets `top_k` in F1.
    has_one = name == "f1_score" or numbers["top_k"] == 1
    return double(jnp.where(has_one, found + counts.false_alarms, found) > 0)


Score = Callable[[Counts, Numbers, bool], Array]


def _accuracy(counts: Counts, numbers: Numbers, is_by_class: bool) -> Array:
    right, of_all = counts.right, counts.right + counts.missed
    if not is_by_class:
        right, of_all = (
            right + counts.right_rejections,
            of_all + counts.right_rejections + counts.false_alarms,
        )
    return ratio_or(right, of_all, 0)


def _precision(counts: Counts, numbers: Numbers, is_by_class: bool) -> Array:
    return ratio_or(counts.right, counts.right + counts.false_alarms, 0)


def _recall(counts: Counts, numbers: Numbers, is_by_class: bool) -> Array:
    return ratio_or(counts.right, counts.right + counts.missed, 0)


def _f1(counts: Counts, numbers: Numbers, is_by_class: bool) -> Array:
    right = 2 * counts.right
    return ratio_or(right, right + counts.missed + counts.false_alarms, numbers["zero_division"])


_SCORES: dict[str, Score] = {
    "accuracy": _accuracy,
    "f1_score": _f1,
    "precision": _precision,
    "recall": _recall,
}
