"""Evaluation of loss and metrics in slices of samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from service.datasets.prepare.encoding import IGNORED

# Samples up to this size are evaluated at once, as in a plain script; larger ones in slices of this size.
EVALUATION_BYTES = 16 * 2**20


class Evaluation(NamedTuple):
    """Loss and metrics of a model on some samples; NaN for a metric without a value."""

    loss: float
    metrics: dict[str, float]


def rows_per_slice(row_bytes: int, batch_size: int, limit_bytes: int = EVALUATION_BYTES) -> int:
    """Return the number of rows to evaluate at once.

    Args:
        row_bytes: Size of the inputs of one row.
        batch_size: Minimum number of rows.
        limit_bytes: Maximum size of the inputs of all rows, unless `batch_size` rows are larger.
    """
    return max(batch_size, limit_bytes // max(1, row_bytes))


@dataclass
class MeanLoss:
    """Running mean of batch losses, Σ n_b · loss_b / Σ n_b, in double precision.

    n_b is the number of rows that count in the loss of the batch. A batch without such rows, whose loss is
    NaN in PyTorch, does not change the mean.

    Losses are kept on the device until a result is needed, so that many are copied in one synchronization.

    Attributes:
        sum: Σ n_b · loss_b of the batches summed so far.
        weight: Σ n_b of these batches.
        waiting: Losses that are not in `sum` yet, each [] on the device.
        weights: The n_b of each waiting loss; if some are tensors [], all are.
    """

    sum: float = 0.0
    weight: float = 0
    waiting: list[Tensor] = field(default_factory=list)
    weights: list[int | Tensor] = field(default_factory=list)

    def add(self, loss: Tensor, weight: int | Tensor) -> None:
        """Add the loss of a batch, the mean over `weight` rows."""
        self.waiting.append(loss)
        self.weights.append(weight)

    def total(self) -> float:
        """Return Σ n_b · loss_b of all batches."""
        if self.waiting:
            # Not `sum`, which compensates rounding errors from Python 3.12 on: the result has the bits of
            # `total += n * loss` in a plain script.
            for weight, loss in zip(_numbers(self.weights), torch.stack(self.waiting).tolist(), strict=True):
                if weight:
                    self.sum += weight * loss
                self.weight += weight
            self.waiting, self.weights = [], []
        return self.sum

    def mean(self) -> float:
        """Return the mean loss over all rows; NaN if none counts."""
        # The common case of a full batch: the mean is the loss itself.
        if self.weight == 0 and len(self.waiting) == 1:
            return self.waiting[0].item()
        total = self.total()
        return total / self.weight if self.weight else math.nan


def _numbers(weights: Sequence[int | Tensor]) -> Sequence[float]:
    """Copy weights to the host, in one synchronization."""
    tensors = [weight for weight in weights if isinstance(weight, Tensor)]
    return torch.stack(tensors).tolist() if tensors else weights  # type: ignore[return-value]


def loss_weight(targets: Tensor, ignores: bool) -> int | Tensor:
    """Return the number of targets that count in the loss of a batch, its n_b in `MeanLoss`.

    Args:
        targets: Encoded targets, [B, …].
        ignores: Whether some of them may be `IGNORED`.
    """
    return (targets != IGNORED).sum() if ignores else len(targets)
