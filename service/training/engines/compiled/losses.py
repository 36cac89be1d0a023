"""Losses whose backward pass PyTorch has only as one kernel, written out in operators it can trace."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def differentiable(loss_fn: nn.Module) -> nn.Module:
    """The loss as a module whose backward pass can be traced; its buffers (class weights) are the same."""
    written_out = _WRITTEN_OUT.get(type(loss_fn))
    return loss_fn if written_out is None else written_out(loss_fn)


class _MultiMargin(nn.Module):
    """Σ_{i≠y} w_y · max(0, margin − x_y + x_i)^p / classes, the mean over samples."""

    weight: Tensor | None

    def __init__(self, loss_fn: nn.MultiMarginLoss) -> None:
        super().__init__()
        self.margin, self.p = loss_fn.margin, loss_fn.p
        self.register_buffer("weight", loss_fn.weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs [B, classes] and targets int64 [B]."""
        right = outputs.gather(1, targets[:, None])
        short: Tensor = torch.relu(self.margin - right + outputs) ** self.p
        if self.weight is not None:
            short = short * self.weight[targets][:, None]
        others = torch.arange(outputs.shape[1], device=outputs.device) != targets[:, None]
        return (short * others).sum(dim=1).mean() / outputs.shape[1]


class _MultiLabelMargin(nn.Module):
    """Σ_{j,i} max(0, 1 − (x_{y_j} − x_i)) / classes over labels y_j and classes i that are no label.

    The labels are the indices before the first −1.
    """

    def __init__(self, _: nn.MultiLabelMarginLoss) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs [B, classes] and targets int64 [B, classes]."""
        classes = outputs.shape[1]
        is_label = (targets < 0).cumsum(dim=1) == 0  # [B, places]
        index = targets.clamp(min=0)
        places = torch.arange(classes, device=outputs.device)
        named = (index[:, :, None] == places) & is_label[:, :, None]  # [B, places, classes]
        others = ~named.any(dim=1)
        short = torch.relu(1 - outputs.gather(1, index)[:, :, None] + outputs[:, None, :])
        counted = is_label[:, :, None] & others[:, None, :]
        return (short * counted).sum(dim=(1, 2)).mean() / classes


_WRITTEN_OUT: Mapping[type[nn.Module], Callable[..., nn.Module]] = {
    nn.MultiLabelMarginLoss: _MultiLabelMargin,
    nn.MultiMarginLoss: _MultiMargin,
}
