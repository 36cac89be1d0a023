"""Both passes of a training step, as a script takes them."""

import torch
from torch import Tensor, nn

from service.datasets.samples import Samples


class Passes:
    """Forward, to a loss, and backward, to gradients.

    Args:
        precision: `float32`, or `bfloat16`: forward and loss under autocast.
        clip_norm: the largest norm that all gradients may have together; None: any.
    """

    def __init__(self, model: nn.Module, loss_fn: nn.Module, precision: str, clip_norm: float | None) -> None:
        self.model = model
        self._loss_fn = loss_fn
        self._half = precision == "bfloat16"
        self._clip_norm = clip_norm
        self._parameters = list(model.parameters())

    def forward(self, batch: Samples) -> tuple[Tensor, Tensor]:
        """The loss of a batch [] and the model's outputs."""
        if not self._half:
            outputs = self.model(*batch.inputs)
            return self._loss_fn(outputs, batch.targets), outputs
        with torch.autocast(batch.targets.device.type, torch.bfloat16):
            outputs = self.model(*batch.inputs)
            return self._loss_fn(outputs, batch.targets), outputs

    def backward(self, loss: Tensor) -> None:
        """The gradients of a loss, instead of those that the parameters have."""
        for parameter in self._parameters:
            parameter.grad = None  # as `zero_grad` does, without its hooks for profilers
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
