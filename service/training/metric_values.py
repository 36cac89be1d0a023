"""Metrics without a value on the rows of a split, found before the training.

A metric is undefined for some targets, whatever the outputs: R² needs two rows, AUROC rows of each class.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.datasets.validation import count_of, quote_value
from service.errors import pointer_to
from service.specs.component import ComponentSpec
from service.specs.training import TrainingSpec
from service.training.findings import Findings
from service.training.labels import soft_classes
from service.training.metrics import THRESHOLD, Task
from service.training.output_roles import OutputRoles

_TRAINING = "#/training"


def check_metric_values(training: TrainingSpec, roles: OutputRoles, data: Prepared, found: Findings) -> None:
    """Check that the metrics have values on the rows of the splits.

    A monitored metric without one is an error, because it finds no best epoch; another metric is a warning.

    Args:
        training: The training section; its metrics are defined for the task.
        roles: The outputs of the model that the metrics take.
        data: The encoded data; only the targets are read.
        found: Receives the findings.
    """
    splits = {"train": data.train, "validation": data.validation}
    monitor = training.early_stopping.monitor if training.early_stopping else None
    for index, metric in enumerate(training.metrics):
        pointer = pointer_to(_TRAINING, "metrics", index)
        _, task, width = roles.metrics[metric.name]
        if task in ("binary", "multilabel") and any(map(_has_fractions, [*splits.values(), data.test])):
            detail = f"`{metric.type}` needs targets that are 0 or 1, and some are not; remove the metric."
            found.add_error(pointer, detail)
            continue
        for split, samples in splits.items():
            if samples is None:
                continue
            reason = _reason_without_value(metric, task, _targets(samples), width, data)
            if reason is None:
                continue
            where = "training" if split == "train" else "validation"
            if monitor == f"{split}_{metric.name}":
                detail = (
                    f"`{monitor}` has no value: {reason} among the {where} rows. Change the rows with "
                    f"`data.split`, or monitor `{split}_loss`."
                )
                found.add_error(f"{_TRAINING}/early_stopping", detail)
            else:
                detail = f"`{metric.type}` has no value on the {where} rows: {reason}."
                found.add_warning(pointer, detail)


def _targets(samples: Samples) -> Tensor:
    return samples.targets if samples.order is None else samples.targets[samples.order]


def _has_fractions(samples: Samples | None) -> bool:
    if samples is None:
        return False
    targets = _targets(samples)
    return bool(((targets != 0) & (targets != 1) & ~targets.isnan()).any())  # a missing target may be masked


def _reason_without_value(
    metric: ComponentSpec, task: Task, targets: Tensor, outputs: int, data: Prepared
) -> str | None:
    """Return why a metric has no value for targets [n, …], as a clause; None if it has one."""
    if metric.type in ("r2_score", "explained_variance"):
        return _without_spread(metric.arguments(), targets)
    if metric.type == "concordance_index" and not (targets[:, 1] > 0).any():
        return "it compares rows with an event with later ones, and there is no event"
    if metric.type == "auroc":
        return next(_without_classes(task, targets, outputs, data), None)
    return None


def _without_spread(arguments: dict[str, Any], targets: Tensor) -> str | None:
    needed = 2 + int(arguments.get("adjusted", 0))
    missing = targets.reshape(len(targets), -1).isnan()  # [n, k], masked
    found = int((~missing).sum(dim=0).min())
    if found < needed:
        rows = "rows with each target" if missing.any() else "rows"
        return f"it needs at least {needed} {rows}, and there {'is' if found == 1 else 'are'} only {found}"
    if (targets.nan_to_num(math.inf).amin(dim=0) >= targets.nan_to_num(-math.inf).amax(dim=0)).all():
        return "it compares errors with the spread of the targets, and all targets are equal"
    return None


def _without_classes(task: Task, targets: Tensor, outputs: int, data: Prepared) -> Iterator[str]:
    """Yield why AUROC is undefined: classes without rows, or without other rows."""
    if task == "multiclass":
        labels = (targets.argmax(dim=1) if targets.is_floating_point() else targets).reshape(-1)
        counts = torch.bincount(labels[labels >= 0], minlength=outputs).tolist()  # a label may be ignored
        classes = data.encoding.classes or soft_classes(data.encoding, outputs)
        for label, count in zip(classes, counts, strict=False):
            if not count:
                yield f"it needs rows of every class, and {quote_value(label)} has none"
        if outputs > len(classes):
            extra = outputs - len(classes)
            yield f"it needs rows of every class, and {count_of(extra, 'output')} of the model has no class"
        return
    for values in targets.reshape(len(targets), -1).unbind(dim=1):
        column = values[~values.isnan()] >= THRESHOLD
        if len(column) and (column == column[0]).all():
            yield f"it needs rows of both classes, and every target is {int(column[0])}"
