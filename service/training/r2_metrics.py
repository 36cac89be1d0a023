"""R² and explained variance for targets of any mean and scale.

torchmetrics computes the total sum of squares as Σ t² − (Σ t)² / n in float32, which cancels catastrophically
if the mean is large compared with the standard deviation, and treats a total below 1e-4 as 0. The classes
here sum in float64 and subtract the first target from all targets, which does not change the metrics (shifted
data; Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance: Analysis and Recommendations",
The American Statistician 37, 1983).

See https://lightning.ai/docs/torchmetrics/stable/regression/r2_score.html and explained_variance.html.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric, regression

MultiOutput = Literal["raw_values", "uniform_average", "variance_weighted"]


class R2Score(regression.R2Score):
    """Coefficient of determination, 1 − Σ error² / Σ (target − mean)².

    If all targets are equal it is 1 without error and 0 otherwise, as in scikit-learn.

    Args:
        adjusted: Number of regressors p of the adjusted R², 1 − (1 − R²) (n − 1) / (n − p − 1).
        multioutput: Aggregation over k outputs: `uniform_average`, `variance_weighted` or `raw_values`.
    """

    origin: Tensor  # [] or [k], the first target

    def __init__(self, adjusted: int = 0, multioutput: str = "uniform_average") -> None:
        super().__init__(adjusted, multioutput)
        _sum_in_float64(self)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, each [B] or [B, k]."""
        preds, target = preds.double(), target.double()
        if self.update_count == 1:
            self.origin = target[0]
        super().update(preds - self.origin, target - self.origin)

    def compute(self) -> Tensor:
        """Compute R².

        Returns:
            [], or [k] for `raw_values`.

        Raises:
            ValueError: There are fewer than two samples, or not more than `adjusted` + 1.
        """
        degrees = self.total - self.adjusted - 1
        if self.total < 2 or degrees <= 0:
            raise ValueError("R² needs at least two samples, and more than `adjusted` + 1.")
        # In torchmetrics' names, `sum_error` is Σ t and `sum_squared_error` is Σ t² of the shifted targets t.
        total_squares = self.sum_squared_error - self.sum_error**2 / self.total  # [] or [k]
        r2 = torch.where(total_squares > 0, 1 - self.residual / total_squares, (self.residual == 0).double())
        if self.multioutput == "uniform_average":
            r2 = r2.mean()
        elif self.multioutput == "variance_weighted":
            r2 = (total_squares * r2).sum() / total_squares.sum()
        return 1 - (1 - r2) * (self.total - 1) / degrees


class ExplainedVariance(regression.ExplainedVariance):
    """Explained variance, 1 − Var(error) / Var(target).

    Args:
        multioutput: Aggregation over k outputs.
    """

    origin: Tensor  # [] or [k], the first target
    origin_of_predictions: Tensor  # [] or [k], the first prediction

    def __init__(self, multioutput: MultiOutput = "uniform_average") -> None:
        super().__init__(multioutput)
        _sum_in_float64(self)
        self.add_state("origin_of_predictions", self.origin)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, each [B] or [B, k]."""
        preds, target = preds.double(), target.double()
        if self.update_count == 1:
            self.origin, self.origin_of_predictions = target[0], preds[0]
        # Predictions have an origin of their own: a constant error does not change Var(error).
        super().update(preds - self.origin_of_predictions, target - self.origin)


class MaskedR2Score(R2Score):
    """R² of targets of which some are missing: that of each output over its present targets.

    It is undefined if an output has fewer than two of them.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, each [B] or [B, k]; NaN is a missing target."""
        preds, target = _columns(preds), _columns(target)  # [B, k]
        self.origin = _first_present(self.origin, target)  # [k]
        present = ~target.isnan()
        shifted = torch.where(present, target - self.origin, 0.0)
        errors = torch.where(present, target - preds, 0.0)
        self.sum_error = self.sum_error + shifted.sum(dim=0)
        self.sum_squared_error = self.sum_squared_error + (shifted**2).sum(dim=0)
        self.residual = self.residual + (errors**2).sum(dim=0)
        self.total = self.total + present.sum(dim=0)

    def compute(self) -> Tensor:
        """Compute R².

        Returns:
            [], or [k] for `raw_values`.

        Raises:
            ValueError: An output has fewer than two present targets, or not more than `adjusted` + 1.
        """
        degrees = self.total - self.adjusted - 1  # [k]
        if ((self.total < 2) | (degrees <= 0)).any():
            raise ValueError("R² needs at least two targets of each output, and more than `adjusted` + 1.")
        total_squares = self.sum_squared_error - self.sum_error**2 / self.total
        r2 = torch.where(total_squares > 0, 1 - self.residual / total_squares, (self.residual == 0).double())
        r2 = 1 - (1 - r2) * (self.total - 1) / degrees
        if self.multioutput == "raw_values":
            return r2
        if self.multioutput == "variance_weighted":
            return (total_squares * r2).sum() / total_squares.sum()
        return r2.mean()


class MaskedExplainedVariance(ExplainedVariance):
    """Explained variance of targets of which some are missing: of each output over its present targets."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, each [B] or [B, k]; NaN is a missing target."""
        preds, target = _columns(preds), _columns(target)  # [B, k]
        present = ~target.isnan()
        self.origin = _first_present(self.origin, target)  # [k]
        self.origin_of_predictions = _first_present(
            self.origin_of_predictions, preds.masked_fill(~present, math.nan)
        )
        shifted = torch.where(present, target - self.origin, 0.0)
        errors = torch.where(present, shifted - (preds - self.origin_of_predictions), 0.0)
        self.num_obs = self.num_obs + present.sum(dim=0)
        self.sum_error = self.sum_error + errors.sum(dim=0)
        self.sum_squared_error = self.sum_squared_error + (errors**2).sum(dim=0)
        self.sum_target = self.sum_target + shifted.sum(dim=0)
        self.sum_squared_target = self.sum_squared_target + (shifted**2).sum(dim=0)

    def compute(self) -> Tensor:
        """Compute the explained variance, [].

        Raises:
            ValueError: An output has fewer than two present targets.
        """
        if (self.num_obs < 2).any():
            raise ValueError("Explained variance needs at least two targets of each output.")
        value = super().compute()
        assert isinstance(value, Tensor)
        return value


def _columns(values: Tensor) -> Tensor:
    """[B] or [B, k] -> float64 [B, k]."""
    return values.double().reshape(len(values), -1)


def _first_present(origin: Tensor, values: Tensor) -> Tensor:
    """Return the first value of each column that is not NaN, [k]; `origin` [] or [k] comes before."""
    first = (~values.isnan()).int().argmax(dim=0, keepdim=True)  # [1, k]
    return torch.where(origin.isnan(), values.gather(0, first)[0], origin)


def _sum_in_float64(metric: Metric) -> None:
    metric.set_dtype(torch.float64)
    metric.add_state("origin", torch.tensor(math.nan, dtype=torch.float64))
