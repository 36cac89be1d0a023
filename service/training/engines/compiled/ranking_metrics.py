"""Metrics of the order of rows: AUROC and the concordance index."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from service.training.engines.compiled.classification_metrics import is_counted
from service.training.engines.compiled.metric import Compared, Numbers, RankedMetric, double
from service.training.metrics import Task


def auroc(task: Task, average: str | None, classes: int) -> RankedMetric:
    """Return the area under the receiver operating characteristic, as torchmetrics computes it.

    It is undefined if a class or label has no rows, or all.

    Args:
        task: Its task.
        average: `macro` or `weighted`, of several labels also `micro`; None of a binary task.
        classes: Number of classes or labels, k.
    """
    if task == "multiclass":
        return RankedMetric(_scores_and_class, _of_classes(average, classes))

    def of_rows(rows: Array, numbers: Numbers) -> Array:
        scores, is_positive, weights = rows.reshape(len(rows), 3, -1).transpose(1, 2, 0)  # [k, R] each
        if average == "micro":
            scores, is_positive, weights = (x.reshape(1, -1) for x in (scores, is_positive, weights))
        areas = jax.vmap(_area, (0, 0, 0, None))(scores, is_positive, weights, numbers)
        return _averaged(areas, jnp.sum(is_positive * weights, axis=1), average)

    return RankedMetric(_scores_and_labels, of_rows)


def _scores_and_labels(batch: Compared, numbers: Numbers) -> Array:
    """Return scores, labels and weights 0 or 1 of k labels, float32 [B, 3 · k]."""
    columns = (batch.predictions, batch.targets, is_counted(batch, numbers))
    flat = [x.reshape(len(x), -1).astype(jnp.float32) for x in columns]
    return jnp.concatenate(flat, axis=1)


def _scores_and_class(batch: Compared, numbers: Numbers) -> Array:
    """Return the scores of k classes, the class and a weight 0 or 1, float32 [B, k + 2]."""
    scores, counts = batch.predictions, is_counted(batch, numbers)[:, None]
    # As torchmetrics does batch by batch: scores that are no probabilities are logits.
    is_logits = jnp.any(((scores < 0) | (scores > 1)) & counts)
    scores = jnp.where(is_logits, jax.nn.softmax(scores, axis=1), scores)
    return jnp.concatenate([x.astype(jnp.float32) for x in (scores, batch.targets[:, None], counts)], axis=1)


def _of_classes(average: str | None, classes: int) -> Callable[[Array, Numbers], Array]:
    def of_rows(rows: Array, numbers: Numbers) -> Array:
        scores, target, weights = rows[:, :classes].T, rows[:, classes], rows[:, classes + 1]
        is_class = double(jnp.arange(classes)[:, None] == target)  # [k, R]
        areas = jax.vmap(_area, (0, 0, None, None))(scores, is_class, weights, numbers)
        return _averaged(areas, jnp.sum(is_class * weights, axis=1), average)

    return of_rows


def _averaged(areas: Array, positives: Array, average: str | None) -> Array:
    """Return the mean of areas [k]; if weighted, by their numbers of positive rows [k]."""
    return jnp.average(areas, weights=positives) if average == "weighted" else jnp.mean(areas)


def _area(scores: Array, is_positive: Array, weights: Array, numbers: Numbers) -> Array:
    """Return the area under the curve of one label, float64 [], NaN without rows of both kinds.

    Args:
        scores: [R].
        is_positive: 1 or 0, [R].
        weights: 1, or 0 for rows that do not count, [R].
        numbers: `max_fpr`, if any.
    """
    order = jnp.argsort(-scores)
    scores, weights, is_positive = scores[order], double(weights[order]), double(is_positive[order])
    # The curve has a point after each run of equal scores; the rows of a run get the point of its end.
    is_end = jnp.append(scores[1:] != scores[:-1], True)
    points = []
    for counted in (weights * (1 - is_positive), weights * is_positive):
        total = jnp.cumsum(counted)
        ends = lax.cummin(jnp.where(is_end, total, jnp.inf), reverse=True)
        points.append(jnp.append(0.0, ends / total[-1]))
    false, true = points  # rates, [R + 1] each
    limit = numbers.get("max_fpr")
    if limit is None:
        return jnp.sum(jnp.diff(false) * (true[1:] + true[:-1])) / 2
    # The part up to `max_fpr`, standardized to 0.5 for random scores (D. K. McClish, "Analyzing a Portion of
    # the ROC Curve", Medical Decision Making 9(3), 1989).
    width = jnp.diff(false)
    part = jnp.clip((limit - false[:-1]) / jnp.where(width == 0, 1, width), 0, 1)
    heights = 2 * true[:-1] + part * jnp.diff(true)
    area, least = jnp.sum(part * width * heights) / 2, limit**2 / 2
    return jnp.where(limit == 1, area, 0.5 * (1 + (area - least) / (limit - least)))


def concordance_index() -> RankedMetric:
    """Return the index of `service.training.concordance`."""
    return RankedMetric(_hazard_time_event, _concordance)


def _hazard_time_event(batch: Compared, numbers: Numbers) -> Array:
    return jnp.concatenate([batch.predictions.reshape(-1, 1), batch.targets], axis=1)  # [B, 3]


def _concordance(rows: Array, numbers: Numbers) -> Array:
    """Compare each row with an event with all rows [R, 3], one after the other."""
    hazards, times, has_event = rows.T

    def compare(row: Array) -> Array:
        hazard, time, event = row
        # An event at a time comes before the censoring at the same time.
        comparable = (event > 0) & ((time < times) | ((time == times) & (has_event == 0)))
        higher = double(hazard > hazards) + 0.5 * double(hazard == hazards)
        return jnp.stack([jnp.sum(higher * comparable), jnp.sum(double(comparable))])

    concordant, comparable = jnp.sum(lax.map(compare, rows, batch_size=64), axis=0)
    index: Array = concordant / comparable
    return index
