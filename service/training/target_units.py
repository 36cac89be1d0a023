"""Loss and metrics of a regression in the units of its targets, where targets are transformed."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from service.datasets.prepare.encoding import Encoding, has_target_transforms, in_target_units
from service.training.evaluation import MeanLoss, UnitValues
from service.training.metrics import Task, compute_and_reset, flat_values

# Losses that are functions of output − target alone, so that they have a meaning in other units too.
ERROR_LOSSES = frozenset({"HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss"})


class UnitMeasures:
    """Loss and metrics of outputs and targets that are converted to the units of the targets, over batches.

    Everything is computed in float64. The loss has its arguments: `delta` and `beta` are then in these units.

    Args:
        encoding: Inverts the transforms of the targets.
        loss: Name of the loss; a loss that is not in `ERROR_LOSSES` is not computed.
        loss_fn: The module of the loss.
        metrics: The metrics of the transformed values, which are copied.
    """

    def __init__(
        self, encoding: Encoding, loss: str, loss_fn: nn.Module, metrics: Mapping[str, Metric]
    ) -> None:
        self._encoding = encoding
        self._loss_fn = loss_fn if loss in ERROR_LOSSES else None
        self._losses = MeanLoss()
        self._metrics = {name: deepcopy(metric) for name, metric in metrics.items()}
        for metric in self._metrics.values():
            metric.reset()
            metric.set_dtype(torch.float64)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add outputs and encoded targets of a batch, each [B, …]."""
        outputs = in_target_units(self._encoding, outputs.detach())
        targets = in_target_units(self._encoding, targets)
        if self._loss_fn is not None:
            self._losses.add(self._loss_fn(outputs, targets), len(targets))
        for metric in self._metrics.values():
            metric.update(*flat_values(outputs, targets))

    def compute_and_reset(self) -> UnitValues:
        """Return loss (None without a meaning) and metrics over all batches, and forget them."""
        loss = None if self._loss_fn is None else self._losses.mean()
        self._losses = MeanLoss()
        return UnitValues(loss, {name: compute_and_reset(metric) for name, metric in self._metrics.items()})


def unit_measures(
    encoding: Encoding, task: Task, loss: str, loss_fn: nn.Module, metrics: Mapping[str, Metric]
) -> UnitMeasures | None:
    """Return the measures of a regression whose targets are transformed; otherwise None.

    Args:
        encoding: The encoding of the job.
        task: The task that the metrics are computed for.
        loss: Name of the loss.
        loss_fn: The module of the loss.
        metrics: The metrics of the transformed values.
    """
    if task != "regression" or not has_target_transforms(encoding):
        return None
    return UnitMeasures(encoding, loss, loss_fn, metrics)
