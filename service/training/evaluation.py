"""Evaluation of loss and metrics in slices of samples."""

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

    Losses are kept on the device until a result is needed, so that many are copied in one synchronization.

    Attributes:
        sum: Σ n_b · loss_b of the batches summed so far.
        rows: Σ n_b of these batches.
        waiting: Losses that are not in `sum` yet, each [] on the device.
        counts: Number of rows of each waiting loss.
    """

    sum: float = 0.0
    rows: int = 0
    waiting: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, loss: Tensor, rows: int) -> None:
        """Add the loss of a batch, the mean over its `rows` rows."""
        self.waiting.append(loss)
        self.counts.append(rows)

    def total(self) -> float:
        """Return Σ n_b · loss_b of all batches."""
        if self.waiting:
            # Not `sum`, which compensates rounding errors from Python 3.12 on: the result has the bits of
            # `total += n * loss` in a plain script.
            for count, loss in zip(self.counts, torch.stack(self.waiting).tolist(), strict=True):
                self.sum += count * loss
            self.rows += sum(self.counts)
            self.waiting, self.counts = [], []
        return self.sum

    def mean(self) -> float:
        """Return the mean loss over all rows."""
        # The common case of a full batch: the mean is the loss itself.
        if self.rows == 0 and len(self.waiting) == 1:
            return self.waiting[0].item()
        return self.total() / self.rows
