"""Layers that read the value of a tensor in their forward pass, in operators that can be traced."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def traceable_layers(model: nn.Module) -> Iterator[None]:
    """Give layers of a model, until the end of the context, an equal forward pass that can be traced."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm)
        and layer.momentum is None
        and layer.track_running_stats
        and type(layer).forward is _BatchNorm.forward
    ]
    for layer in layers:
        layer.forward = MethodType(_cumulative_batch_norm, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        for each in model.modules():
            if isinstance(each, nn.RNNBase):
                # `functional_call` gives back a layer's weights, but not its list of them.
                each._init_flat_weights()


def _cumulative_batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Normalize as a batch norm without momentum, whose running statistics are means over all batches.

    PyTorch reads the number of batches and passes its reciprocal to the operator as a number.

    Args:
        layer: The layer.
        x: The input [B, C, …].
    """
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
    mean, variance, batches = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None and variance is not None and batches is not None  # noqa: PT018 (no test)
    weight, bias, eps = layer.weight, layer.bias, layer.eps
    if not layer.training:
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
    batches.add_(1)
    factor = 1.0 / batches.to(torch.float64)  # []
    of_batch = torch.zeros_like(mean), torch.zeros_like(variance)  # with momentum 1: those of the batch
    output = functional.batch_norm(x, *of_batch, weight, bias, True, 1.0, eps)
    for running, new in zip((mean, variance), of_batch, strict=True):
        running.copy_(factor * new + (1 - factor) * running)
    return output
