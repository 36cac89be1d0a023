"""The loss of samples with weights, and of targets of which some are missing."""

from typing import Any

import torch
from torch import Tensor, nn

from service.datasets.prepare.encoding import IGNORED
from service.datasets.samples import Samples
from service.training.expression_loss import ForwardPass

# Losses whose mean over rows PyTorch weights by the class of each row, and divides by the sum of the weights.
_CLASS_MEANS = (nn.CrossEntropyLoss, nn.NLLLoss)
# The least divisor: where all weights are 0, the loss is 0 / tiny = 0, not NaN.
_TINY = torch.finfo(torch.float32).tiny


Predicted = Tensor | tuple[Tensor, ...] | ForwardPass
"""What a loss takes of a forward pass: an output, [B, …], or several, or all that a text can read."""


class WeightedLoss(nn.Module):
    """The weighted mean of a loss.

    Σ wᵢ lᵢ / Σ wᵢ, where lᵢ is the loss of row i, for targets [B, k] the mean over its k outputs. For losses
    with a weighted mean over classes, Σ wᵢ cᵢ lᵢ / Σ wᵢ cᵢ, where cᵢ is the weight of the class of row i
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html), 0 for an ignored index.

    With `masks`, NaN in the targets is a missing target: Σ wᵢ lᵢⱼ / Σ wᵢ over the targets (i, j) that are
    present. If all weights of a batch are 0, or all its targets are missing, its loss and gradients are 0.

    Args:
        loss_fn: The loss of `torch.nn`, of which each row's or each target's value is taken.
        masks: Whether targets that are NaN are left out.
    """

    def __init__(self, loss_fn: nn.Module, masks: bool) -> None:
        super().__init__()
        self.loss_fn: Any = loss_fn
        loss_fn.reduction = "none"  # type: ignore[assignment]  # not a module, as mypy thinks
        self.masks = masks

    def forward(self, outputs: Predicted, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss [] of outputs [B, …], targets [B, …] and weights [B], by default 1."""
        used = self.used_weights(targets, weights)  # [B], or [B, …] with `masks`
        losses = self.losses(outputs, targets)
        if not self.masks:
            losses = _rows(losses)
        loss: Tensor = (losses * used).sum() / self.divisor(targets, weights)
        return loss

    def divisor(self, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum [] of the weights of rows or targets, each times that of its class; never 0."""
        used = self.used_weights(targets, weights)
        divisors = used * self._class_weights(targets) if self._has_classes(targets) else used
        return divisors.sum().clamp(min=_TINY)

    def losses(self, outputs: Predicted, targets: Tensor) -> Tensor:
        """Compute the loss of each row [B], or of each target [B, …]; that of a missing target is finite."""
        # 0 is a valid target of every loss with a value for each target.
        present = targets.masked_fill(targets.isnan(), 0.0) if self.masks else targets
        losses: Tensor = self.loss_fn(outputs, present)
        return losses

    def row_losses(self, outputs: Predicted, targets: Tensor) -> Tensor | None:
        """Compute the loss of each row [B]: the mean over its outputs, or over its present targets if any.

        Returns:
            None for a loss that has no value for each row.
        """
        losses = self.losses(outputs, targets)
        if not losses.dim():
            return None
        losses = losses.reshape(len(targets), -1)  # [B, k]
        if self._has_classes(targets) and targets.dim() > 1:
            present: Tensor = (targets != self.loss_fn.ignore_index).reshape(losses.shape)
        elif not self.masks:
            return losses.mean(dim=1)
        else:
            present = (~targets.isnan()).reshape(losses.shape)
        return (losses * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)

    def used_weights(self, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weights of rows [B]; with `masks` those of targets [B, …], 0 for missing ones."""
        if not self.masks:
            assert weights is not None
            return weights
        present = (~targets.isnan()).float()
        return present if weights is None else present * weights.reshape(-1, *[1] * (targets.dim() - 1))

    def total_weight(self, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum [] of the weights of rows, or of present targets; an ignored index counts as 0."""
        used = self.used_weights(targets, weights)
        counted: Tensor = used * self._counted(targets) if self._has_classes(targets) else used
        return counted.sum()

    def _has_classes(self, targets: Tensor) -> bool:
        """Return whether the loss is a mean weighted by class; that of soft labels is not."""
        return isinstance(self.loss_fn, _CLASS_MEANS) and not targets.is_floating_point()

    def _class_weights(self, targets: Tensor) -> Tensor:
        """Return the weight [B] by which a loss with a mean over classes multiplies each row."""
        weights = self._counted(targets)
        if self.loss_fn.weight is not None:
            index = targets.masked_fill(targets == self.loss_fn.ignore_index, 0)
            weights = weights * _rows(self.loss_fn.weight[index])
        return weights

    def _counted(self, targets: Tensor) -> Tensor:
        """Return 1.0 for each row [B], or 0.0 if its index is ignored."""
        return _rows((targets != self.loss_fn.ignore_index).float())


def _rows(values: Tensor) -> Tensor:
    """Return the mean of each row: [B, …] -> [B]."""
    return values.flatten(1).mean(dim=1) if values.dim() > 1 else values


def loss_weight(loss_fn: nn.Module, batch: Samples, ignores: bool) -> int | Tensor:
    """Return the weight of a batch's loss in the mean over batches, its n_b in `evaluation.MeanLoss`.

    Args:
        loss_fn: The loss.
        batch: The batch.
        ignores: Whether some of the targets may be `IGNORED`.

    Returns:
        The number of rows that count; of a `WeightedLoss`, `total_weight`.
    """
    if isinstance(loss_fn, WeightedLoss):
        return loss_fn.total_weight(*batch.loss_arguments)
    return (batch.targets != IGNORED).sum() if ignores else batch.rows


def loss_divisor(loss_fn: nn.Module, batch: Samples, ignores: bool) -> int | Tensor:
    """Return what the loss of a batch divides by: the loss of several batches is the mean weighted by it.

    Args:
        loss_fn: The loss.
        batch: The batch.
        ignores: Whether some of the targets may be `IGNORED`.

    Returns:
        As `loss_weight`, with each row or position weighted by its class.
    """
    if isinstance(loss_fn, WeightedLoss):
        return loss_fn.divisor(*batch.loss_arguments)
    classes = batch.targets
    if isinstance(loss_fn, _CLASS_MEANS) and loss_fn.weight is not None and not classes.is_floating_point():
        counted = classes != loss_fn.ignore_index
        return (loss_fn.weight[classes.masked_fill(~counted, 0)] * counted).sum()
    return loss_weight(loss_fn, batch, ignores)
