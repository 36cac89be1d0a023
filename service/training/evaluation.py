"""Loss and metrics of many samples: computed a slice at a time, and put together as the history has them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

# Evaluation takes all rows at once, as a script does; rows of more bytes than this go in slices.
EVALUATION_BYTES = 16 * 2**20


class Evaluation(NamedTuple):
    """The loss and the metrics of a model on some samples."""

    loss: float
    metrics: dict[str, float]


def rows_at_once(row_bytes: int, batch_size: int, limit_bytes: int = EVALUATION_BYTES) -> int:
    """How many rows are evaluated at once: those of so many bytes, and a batch at least."""
    return max(batch_size, limit_bytes // max(1, row_bytes))


@dataclass
class Losses:
    """The losses of batches, on their way to Σ n_b · loss_b / Σ n_b in double precision.

    Attributes:
        sum, rows: of those that were added up.
        waiting, counts: of those that were not yet, so that a device is asked for many at once.
    """

    sum: float = 0.0
    rows: int = 0
    waiting: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, loss: Tensor, rows: int) -> None:
        """Take in the loss of a batch of so many rows."""
        self.waiting.append(loss)
        self.counts.append(rows)

    def summed(self) -> float:
        """The sum so far."""
        if self.waiting:
            # One by one as a script does: from Python 3.12 on, `sum` rounds otherwise.
            for count, loss in zip(self.counts, torch.stack(self.waiting).tolist(), strict=True):
                self.sum += count * loss
            self.rows += sum(self.counts)
            self.waiting, self.counts = [], []
        return self.sum

    def mean(self) -> float:
        """The mean over samples of batches' means."""
        if self.rows == 0 and len(self.waiting) == 1:
            return self.waiting[0].item()
        return self.summed() / self.rows
