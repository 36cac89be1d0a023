"""Harrell's concordance index of a survival analysis."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

# Pairs that are compared at once.
_MAX_PAIRS = 2**24


class ConcordanceIndex(Metric):
    """Fraction of the comparable pairs of rows whose order is predicted; equal outputs count half.

    A pair is comparable if the earlier of its times is that of an event. A higher output predicts an earlier
    event, as a hazard does (F. E. Harrell et al., "Evaluating the Yield of Medical Tests", JAMA 247(18),
    1982). Without a comparable pair it has no value.
    """

    higher_is_better = True
    preds: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("preds", [])
        self.add_state("targets", [])

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add outputs [B, 1] or [B], and targets [B, 2]: time, and 1 for an event or 0."""
        self.preds.append(preds.flatten().clone())
        self.targets.append(target)

    def compute(self) -> Tensor:
        """Compute the index; NaN without a comparable pair."""
        hazards, targets = dim_zero_cat(self.preds), dim_zero_cat(self.targets)
        times = targets[:, 0]
        found = hazards.new_zeros(2, dtype=torch.float64)  # concordant, comparable
        with_event = (targets[:, 1] > 0).nonzero()[:, 0]
        for rows in torch.split(with_event, max(1, _MAX_PAIRS // len(times))):
            comparable = times[rows, None] < times  # [rows, n]
            # An event at a time comes before the censoring at the same time.
            comparable |= (times[rows, None] == times) & (targets[:, 1] == 0)
            higher = (hazards[rows, None] > hazards).double() + 0.5 * (hazards[rows, None] == hazards)
            found += torch.stack([(higher * comparable).sum(), comparable.sum().double()])
        return found[0] / found[1]
