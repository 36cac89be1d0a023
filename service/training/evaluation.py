"""Evaluation of loss and metrics in slices of samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

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

    n_b is the number of rows that count in the loss of the batch, or the sum of their weights; see
    `weighted_loss.loss_weight`. A batch without such rows does not change the mean.

    Losses are kept on the device until a result is needed, so that many are copied in one synchronization.

    Attributes:
        sum: Σ n_b · loss_b of the batches summed so far.
        weight: Σ n_b of these batches.
        waiting: Losses that are not in `sum` yet, each [] on the device.
        weights: The n_b of each waiting loss; if some are tensors [], all are.
        uncounted: Loss of the last batch that had no such rows, which is the mean if no batch had any.
    """

    sum: float = 0.0
    weight: float = 0
    waiting: list[Tensor] = field(default_factory=list)
    weights: list[int | Tensor] = field(default_factory=list)
    uncounted: float = math.nan

    def add(self, loss: Tensor, weight: int | Tensor) -> None:
        """Add the loss of a batch, the mean over `weight` rows or over rows with this sum of weights."""
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
                else:
                    self.uncounted = loss
                self.weight += weight
            self.waiting, self.weights = [], []
        return self.sum

    def mean(self) -> float:
        """Return the mean loss over all rows; if none counts, the loss of a batch, which is NaN or 0."""
        # The common case of a full batch: the mean is the loss itself.
        if self.weight == 0 and len(self.waiting) == 1:
            return self.waiting[0].item()
        total = self.total()
        return total / self.weight if self.weight else self.uncounted


def _numbers(weights: Sequence[int | Tensor]) -> Sequence[float]:
    """Copy weights to the host, in one synchronization."""
    tensors = [weight for weight in weights if isinstance(weight, Tensor)]
    return torch.stack(tensors).tolist() if tensors else weights  # type: ignore[return-value]
