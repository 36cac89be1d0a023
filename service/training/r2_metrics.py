"""The metrics of how much of the targets' spread is explained, for targets of any mean and scale.

torchmetrics takes Σ t² − (Σ t)² / n in float32, of which nothing is left where the mean is large beside the
spread, and takes spreads below 1e-4 for none. Here sums are float64, of differences from the first target.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric, regression

MultiOutput = Literal["raw_values", "uniform_average", "variance_weighted"]


class R2Score(regression.R2Score):
    """1 − Σ error² / Σ (target − mean)²; of equal targets 0, or 1 where there is no error."""

    origin: Tensor

    def __init__(self, adjusted: int = 0, multioutput: str = "uniform_average") -> None:
        super().__init__(adjusted, multioutput)
        _sum_in_float64(self)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in predictions and targets, [B] or [B, k]."""
        preds, target = preds.double(), target.double()
        if self.update_count == 1:
            self.origin = target[0]
        super().update(preds - self.origin, target - self.origin)

    def compute(self) -> Tensor:
        """R² of all outputs together.

        Raises:
            ValueError: there are too few rows.
        """
        degrees = self.total - self.adjusted - 1
        if self.total < 2 or degrees <= 0:
            raise ValueError("R² needs two samples at least, and more than there are regressors.")
        spread = self.sum_squared_error - self.sum_error**2 / self.total
        r2 = torch.where(spread > 0, 1 - self.residual / spread, (self.residual == 0).double())
        if self.multioutput == "uniform_average":
            r2 = r2.mean()
        elif self.multioutput == "variance_weighted":
            r2 = (spread * r2).sum() / spread.sum()
        return 1 - (1 - r2) * (self.total - 1) / degrees


class ExplainedVariance(regression.ExplainedVariance):
    """1 − Var(error) / Var(target)."""

    origin: Tensor
    origin_of_predictions: Tensor

    def __init__(self, multioutput: MultiOutput = "uniform_average") -> None:
        super().__init__(multioutput)
        _sum_in_float64(self)
        self.add_state("origin_of_predictions", self.origin)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in predictions and targets, [B] or [B, k]."""
        preds, target = preds.double(), target.double()
        if self.update_count == 1:
            self.origin, self.origin_of_predictions = target[0], preds[0]
        super().update(preds - self.origin_of_predictions, target - self.origin)


def _sum_in_float64(metric: Metric) -> None:
    metric.set_dtype(torch.float64)
    metric.add_state("origin", torch.tensor(math.nan, dtype=torch.float64))
