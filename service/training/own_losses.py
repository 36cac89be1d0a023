"""Losses that are not in `torch.nn`, or that take their outputs otherwise than there."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GaussianNLLLoss(nn.GaussianNLLLoss):
    """Negative log-likelihood of targets under normal distributions with the model's means and variances.

    Variances below `eps` are replaced by it.
    """

    def forward(self, predicted: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:  # type: ignore[override]
        """Compute the loss of means and variances, each [B, …], and targets [B, …]."""
        mean, var = predicted
        return super().forward(mean, targets, var)


class PinballLoss(nn.Module):
    """The pinball or quantile loss, whose minimum are the quantiles of the targets.

    The mean of max(τ e, (τ − 1) e) over the quantiles τ, where e is target − output (Koenker and Bassett,
    "Regression Quantiles", Econometrica 46(1), 1978).

    Args:
        quantiles: The q quantiles τ, each between 0 and 1.
        reduction: `mean`, or `none` for the value of each target.
    """

    quantiles: Tensor  # [q]

    def __init__(self, quantiles: list[float], reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction
        self.register_buffer("quantiles", torch.tensor(quantiles))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs [B, …, q] and targets [B, …], or of [B, q] and [B, 1]."""
        is_joint = outputs.dim() == targets.dim()  # [B, q] and [B, 1]
        errors = (targets if is_joint else targets[..., None]) - outputs
        losses = torch.maximum(self.quantiles * errors, (self.quantiles - 1) * errors)
        losses = losses.mean(dim=-1, keepdim=is_joint)  # of the shape of the targets
        return losses if self.reduction == "none" else losses.mean()


class CoxPHLoss(nn.Module):
    """Negative partial log-likelihood of Cox's proportional hazards model, divided by the number of events.

    −Σᵢ (ηᵢ − log Σⱼ exp ηⱼ) over the rows i with an event, where η is the output, the logarithm of the hazard
    ratio, and j runs over the rows whose time is not less than that of i. Equal times are treated as Breslow
    does (D. R. Cox, "Regression Models and Life-Tables", J. R. Stat. Soc. B 34(2), 1972, and N. E. Breslow's
    discussion of it). Rows are compared within a batch; without an event in it, the loss is 0.

    Args:
        reduction: Only `mean`.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs [B, 1] or [B], and targets [B, 2]: time, and 1 for an event or 0."""
        times, order = targets[:, 0].sort(descending=True)
        events, log_hazards = targets[order, 1], outputs.flatten()[order]  # [B] each
        # The rows up to the last one of the same time are those whose time is not less.
        last = torch.searchsorted(-times, -times, right=True) - 1
        at_risk = log_hazards.logcumsumexp(dim=0)[last]
        return (events * (at_risk - log_hazards)).sum() / events.sum().clamp(min=1)


Shape = Sequence[int]  # without the batch dimension


def pinball_outputs(targets: Shape, quantiles: Sequence[float]) -> list[tuple[int, ...]]:
    """Return the shapes of outputs that `PinballLoss` takes for targets of a shape."""
    count = len(quantiles)
    return [(count,), (1, count)] if tuple(targets) == (1,) else [(*targets, count)]


def cox_outputs(targets: Shape) -> list[tuple[int, ...]]:
    """Return the shapes of outputs that `CoxPHLoss` takes; none for targets that are not time and event."""
    return [(1,), ()] if tuple(targets) == (2,) else []
