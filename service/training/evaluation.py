"""Loss and metrics of many samples: computed a slice at a time, and put together as the history has them."""

from collections.abc import Sequence
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


def mean_loss(losses: Sequence[Tensor], counts: Sequence[int]) -> float:
    """Σ n_b · loss_b / Σ n_b in double precision: the mean over samples of batches' means."""
    if len(losses) == 1:
        return losses[0].item()
    total = 0.0  # added up one by one as a script does: from Python 3.12 on, `sum` rounds otherwise
    for count, loss in zip(counts, torch.stack(list(losses)).tolist(), strict=True):
        total += count * loss
    return total / sum(counts)
