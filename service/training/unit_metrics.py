"""Metrics of values that are converted to the units of the targets first."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from service.datasets.prepare.encoding import Encoding, in_target_units
from service.training.masked_metrics import present_values

# Values that wait for their conversion: for a small batch, it would take longer than a training step.
MAX_WAITING = 2**20


class InTargetUnits(Metric):
    """A metric of predictions and targets in the units of the targets, computed in float64.

    Values wait until there are `MAX_WAITING` of them, or until the metric is computed. Only the sequence of
    batches decides when they are converted: a checkpoint with the waiting ones continues exactly.

    Args:
        metric: The metric, without values so far.
        encoding: Inverts the transforms of the targets, and tells whether some may be missing.
    """

    preds: list[Tensor]
    targets: list[Tensor]

    def __init__(self, metric: Metric, encoding: Encoding) -> None:
        super().__init__()
        self.metric = metric
        self._encoding = encoding
        self.masks_targets = encoding.masks_targets
        self._waiting = 0
        self.add_state("preds", [])
        self.add_state("targets", [])
        metric.set_dtype(torch.float64)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add transformed predictions and targets, each [B, …]; NaN is a missing target that is masked."""
        if self.targets and not self._waiting:  # restored
            self._waiting = sum(values.numel() for values in self.targets)
        if self._waiting >= MAX_WAITING:
            self._convert()
        self._waiting += target.numel()
        self.preds.append(preds.clone())  # a model may return a parameter, which the next step changes
        self.targets.append(target)

    def _convert(self) -> None:
        """Add the waiting values to the metric."""
        preds, targets = dim_zero_cat(self.preds), dim_zero_cat(self.targets)
        values = in_target_units(self._encoding, preds), in_target_units(self._encoding, targets)
        if self.masks_targets:
            values = present_values(self.metric, *values)
        if len(values[0]):
            self.metric.update(*values)
        self.preds, self.targets, self._waiting = [], [], 0

    def compute(self) -> Any:
        """Compute the metric."""
        if self.targets:
            self._convert()
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all values."""
        super().reset()
        self.metric.reset()
        self._waiting = 0


def with_wrapped(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics by name, and those that they wrap, which have states too, by `<name>.metric`."""
    wrapped = {
        f"{name}.metric": metric.metric
        for name, metric in metrics.items()
        if isinstance(metric, InTargetUnits)
    }
    return {**metrics, **wrapped}


class MeanLoss(Metric):
    """The mean of a loss over all values.

    Args:
        loss_fn: A module with `reduction="sum"`.
    """

    total: Tensor
    count: Tensor

    def __init__(self, loss_fn: nn.Module) -> None:
        super().__init__()
        self._loss_fn = loss_fn
        self.add_state("total", torch.tensor(0.0))
        self.add_state("count", torch.tensor(0.0))

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, each [B, …]."""
        self.total = self.total + self._loss_fn(preds, target)
        self.count = self.count + target.numel()

    def compute(self) -> Tensor:
        """Compute the mean."""
        return self.total / self.count
