"""Forward and backward pass of a training step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from service.datasets.samples import Samples
from service.training.expression_loss import differentiates, with_gradients
from service.training.output_roles import OutputRoles

Outputs = dict[str, Tensor]
"""Outputs of a model, [B, …], by name."""


class Passes:
    """The passes of a training step, in the operations of a plain PyTorch loop.

    Args:
        model: The model.
        loss_fn: The module that computes the loss.
        roles: The outputs of the model that the loss takes.
        precision: `float32`, or `bfloat16` for forward pass and loss under autocast.
        clip_norm: The largest norm of all gradients together; None for no limit.

    Attributes:
        model: The model.
        differentiates: Whether the loss differentiates by the inputs, also in evaluations.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: nn.Module,
        roles: OutputRoles,
        precision: str,
        clip_norm: float | None,
    ) -> None:
        self.model = model
        self._loss_fn = loss_fn
        self._roles = roles
        self._autocasts = precision == "bfloat16"
        self._clip_norm = clip_norm
        self._parameters = list(model.parameters())
        self.differentiates = differentiates(loss_fn)

    def forward(self, batch: Samples) -> tuple[Tensor, Outputs]:
        """Return the loss [] of a batch and the outputs of the model, [B, …] by name."""
        if self.differentiates and not torch.is_grad_enabled():
            with torch.enable_grad():
                loss, outputs = self.forward(batch)
            return loss.detach(), {name: output.detach() for name, output in outputs.items()}
        if not self._autocasts:
            return self._forward(batch)
        with torch.autocast(batch.targets.device.type, torch.bfloat16):
            return self._forward(batch)

    def _forward(self, batch: Samples) -> tuple[Tensor, Outputs]:
        roles = self._roles
        inputs = with_gradients(batch.inputs) if self.differentiates else batch.inputs
        outputs = roles.layout.named(self.model(*inputs))
        return self._loss_fn(roles.predicted(outputs, inputs), *batch.loss_arguments), outputs

    def backward(self, loss: Tensor, average: Callable[[Sequence[Tensor]], None] | None = None) -> None:
        """Replace the gradients of the parameters by those of a loss, clipped to the largest norm.

        Args:
            loss: The loss [].
            average: Changes the gradients in place before they are clipped; None for no change.
        """
        for parameter in self._parameters:
            parameter.grad = None  # as `zero_grad` does, without its hooks for profilers
        loss.backward()  # type: ignore[no-untyped-call]
        if average is not None:
            average([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
