"""Metrics of values that are converted to the units of the targets first."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from service.datasets.prepare.encoding import Encoding, in_target_units


class InTargetUnits(Metric):
    """A metric of predictions and targets in the units of the targets, computed in float64.

    Args:
        metric: The metric, without values so far. Its states are those of this metric.
        encoding: Inverts the transforms of the targets.
    """

    def __init__(self, metric: Metric, encoding: Encoding) -> None:
        super().__init__()
        self.metric = metric
        self._encoding = encoding
        metric.set_dtype(torch.float64)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add transformed predictions and targets, each [B, …]."""
        self.metric.update(in_target_units(self._encoding, preds), in_target_units(self._encoding, target))

    def compute(self) -> Any:
        """Compute the metric."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all values."""
        super().reset()
        self.metric.reset()


class MeanLoss(Metric):
    """The mean of a loss over all values.

    Args:
        loss_fn: A module with `reduction="none"`.
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
        self.total = self.total + self._loss_fn(preds, target).sum()
        self.count = self.count + target.numel()

    def compute(self) -> Tensor:
        """Compute the mean."""
        return self.total / self.count


def stateful(metric: Metric) -> Metric:
    """Return the metric that holds the states of a metric: itself, or the one that it wraps."""
    return metric.metric if isinstance(metric, InTargetUnits) else metric
