"""Losses whose backward pass is a single kernel in PyTorch, rewritten in operators that can be traced."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from service.training.own_losses import GaussianNLLLoss
from service.training.weighted_loss import WeightedLoss


def traceable_loss(loss_fn: nn.Module) -> nn.Module:
    """Return an equal loss whose backward pass can be traced; its buffers (class weights) are the same."""
    if isinstance(loss_fn, WeightedLoss):
        return WeightedLoss(traceable_loss(loss_fn.loss_fn), loss_fn.masks)
    rewritten = _REWRITTEN.get(type(loss_fn))
    return loss_fn if rewritten is None else rewritten(loss_fn)


class _MultiMargin(nn.Module):
    """`nn.MultiMarginLoss`: Σ_{i≠y} w_y · max(0, margin − x_y + x_i)^p / classes, by sample or as a mean."""

    weight: Tensor | None

    def __init__(self, loss_fn: nn.MultiMarginLoss) -> None:
        super().__init__()
        self.margin, self.p, self.reduction = loss_fn.margin, loss_fn.p, loss_fn.reduction
        self.register_buffer("weight", loss_fn.weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs [B, classes] and targets int64 [B]."""
        right = outputs.gather(1, targets[:, None])  # [B, 1]
        shortfall: Tensor = torch.relu(self.margin - right + outputs) ** self.p  # [B, classes]
        if self.weight is not None:
            shortfall = shortfall * self.weight[targets][:, None]
        others = torch.arange(outputs.shape[1], device=outputs.device) != targets[:, None]  # [B, classes]
        return _reduced((shortfall * others).sum(dim=1), self.reduction) / outputs.shape[1]


class _MultiLabelMargin(nn.Module):
    """`nn.MultiLabelMarginLoss`: Σ_{j,i} max(0, 1 − (x_{y_j} − x_i)) / classes, of each sample or the mean.

    The sum runs over the labels y_j (the indices before the first −1) and the classes i without a label.
    """

    def __init__(self, loss_fn: nn.MultiLabelMarginLoss) -> None:
        super().__init__()
        self.reduction = loss_fn.reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs [B, classes] and targets int64 [B, classes]."""
        classes = outputs.shape[1]
        # A target has as many columns as classes. L below is the number of these columns, of which the labels
        # are those before the first −1.
        is_label = (targets < 0).cumsum(dim=1) == 0  # [B, L]
        index = targets.clamp(min=0)  # [B, L], valid indices beyond the labels too
        all_classes = torch.arange(classes, device=outputs.device)  # [classes]
        labelled = (index[:, :, None] == all_classes) & is_label[:, :, None]  # [B, L, classes]
        others = ~labelled.any(dim=1)  # [B, classes]
        labels = outputs.gather(1, index)  # [B, L]
        shortfall = torch.relu(1 - labels[:, :, None] + outputs[:, None, :])  # [B, L, classes]
        counted = is_label[:, :, None] & others[:, None, :]  # [B, L, classes]
        return _reduced((shortfall * counted).sum(dim=(1, 2)), self.reduction) / classes


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    """Reduce the losses of samples [B, …] as PyTorch does: `none` or `mean`."""
    return losses if reduction == "none" else losses.mean()


class _GaussianNLL(nn.Module):
    """`GaussianNLLLoss` without its check that variances are not negative: the loss of those is NaN."""

    def __init__(self, loss_fn: GaussianNLLLoss) -> None:
        super().__init__()
        self.full, self.eps, self.reduction = loss_fn.full, loss_fn.eps, loss_fn.reduction

    def forward(self, predicted: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of means and variances, each [B, …], and targets [B, …]."""
        mean, var = predicted
        # The variance is clamped without a gradient, as PyTorch does.
        var = torch.where(var < 0, torch.nan, var + (var.clamp(min=self.eps) - var).detach())
        losses = 0.5 * (var.log() + (mean - targets) ** 2 / var)
        if self.full:
            losses = losses + 0.5 * math.log(2 * math.pi)
        return _reduced(losses, self.reduction)


_REWRITTEN: Mapping[type[nn.Module], Callable[..., nn.Module]] = {
    GaussianNLLLoss: _GaussianNLL,
    nn.MultiLabelMarginLoss: _MultiLabelMargin,
    nn.MultiMarginLoss: _MultiMargin,
}
