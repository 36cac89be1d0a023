"""Losses whose backward pass is a single kernel in PyTorch, rewritten in operators that can be traced."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def traceable_loss(loss_fn: nn.Module) -> nn.Module:
    """Return an equal loss whose backward pass can be traced; its buffers (class weights) are the same."""
    rewritten = _REWRITTEN.get(type(loss_fn))
    return loss_fn if rewritten is None else rewritten(loss_fn)


class _MultiMargin(nn.Module):
    """`nn.MultiMarginLoss`: Σ_{i≠y} w_y · max(0, margin − x_y + x_i)^p / classes, the mean over samples."""

    weight: Tensor | None

    def __init__(self, loss_fn: nn.MultiMarginLoss) -> None:
        super().__init__()
        self.margin, self.p = loss_fn.margin, loss_fn.p
        self.register_buffer("weight", loss_fn.weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs [B, classes] and targets int64 [B]."""
        right = outputs.gather(1, targets[:, None])  # [B, 1]
        shortfall: Tensor = torch.relu(self.margin - right + outputs) ** self.p  # [B, classes]
        if self.weight is not None:
            shortfall = shortfall * self.weight[targets][:, None]
        others = torch.arange(outputs.shape[1], device=outputs.device) != targets[:, None]  # [B, classes]
        return (shortfall * others).sum(dim=1).mean() / outputs.shape[1]


class _MultiLabelMargin(nn.Module):
    """`nn.MultiLabelMarginLoss`: Σ_{j,i} max(0, 1 − (x_{y_j} − x_i)) / classes, the mean over samples.

    The sum runs over the labels y_j (the indices before the first −1) and the classes i without a label.
    """

    def __init__(self, _: nn.MultiLabelMarginLoss) -> None:
        super().__init__()

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
        return (shortfall * counted).sum(dim=(1, 2)).mean() / classes


_REWRITTEN: Mapping[type[nn.Module], Callable[..., nn.Module]] = {
    nn.MultiLabelMarginLoss: _MultiLabelMargin,
    nn.MultiMarginLoss: _MultiMargin,
}
