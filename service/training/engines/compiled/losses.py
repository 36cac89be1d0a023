"""Losses whose backward pass PyTorch has only as one kernel, written out in operators it can trace."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

LossFunction = Callable[[Tensor, Tensor], Tensor]


def differentiable(loss_fn: nn.Module) -> LossFunction:
    """The loss as a function whose backward pass can be traced."""
    written_out = _WRITTEN_OUT.get(type(loss_fn))
    return loss_fn if written_out is None else written_out(loss_fn)


def _multi_margin(loss_fn: nn.MultiMarginLoss) -> LossFunction:
    """Σ_{i≠y} max(0, margin − x_y + x_i)^p / classes, the mean over samples, as PyTorch's."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        right = outputs.gather(1, targets[:, None])
        short = torch.relu(loss_fn.margin - right + outputs) ** loss_fn.p
        others = torch.arange(outputs.shape[1], device=outputs.device) != targets[:, None]
        return (short * others).sum(dim=1).mean() / outputs.shape[1]

    return loss


def _multilabel_margin(_: nn.MultiLabelMarginLoss) -> LossFunction:
    """Σ_{j,i} max(0, 1 − (x_{y_j} − x_i)) / classes over labels y_j and classes i that are no label.

    As `torch.nn.MultiLabelMarginLoss`: labels are the indices before the first −1.
    """

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        classes = outputs.shape[1]
        is_label = (targets < 0).cumsum(dim=1) == 0  # [B, places]
        index = targets.clamp(min=0)
        places = torch.arange(classes, device=outputs.device)
        named = (index[:, :, None] == places) & is_label[:, :, None]  # [B, places, classes]
        others = ~named.any(dim=1)
        short = torch.relu(1 - outputs.gather(1, index)[:, :, None] + outputs[:, None, :])
        counted = is_label[:, :, None] & others[:, None, :]
        return (short * counted).sum(dim=(1, 2)).mean() / classes

    return loss


_WRITTEN_OUT: Mapping[type[nn.Module], Callable[..., LossFunction]] = {
    nn.MultiLabelMarginLoss: _multilabel_margin,
    nn.MultiMarginLoss: _multi_margin,
}
