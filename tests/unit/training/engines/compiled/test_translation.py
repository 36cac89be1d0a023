"""The translation of traced steps to JAX, layer by layer."""

import copy
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.architectures.layers import LAYERS
from service.datasets.samples import Samples
from service.training.engines.compiled.tracing import trace
from service.training.engines.compiled.translation import translated, untranslatable
from tests.support.architecture_samples import SAMPLES

NO_OPERATOR = {"FractionalMaxPool2d", "RReLU"}
# Their layers are tested too, and compile in a fraction of the time.
STACKS = {"Transformer", "TransformerDecoder", "TransformerEncoder"}
NOT_TRACED = {"FractionalMaxPool3d"}  # its backward pass has no meta kernel


class Scaled(nn.Module):
    """A layer behind trainable factors, whose gradients include the gradient of the layer's input."""

    def __init__(self, layer: nn.Module, inputs: list[Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.factors = nn.ParameterList(nn.Parameter(torch.randn(x.shape)) for x in inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the layer's output, the first of a tuple."""
        scaled = [x * f if x.is_floating_point() else x for x, f in zip(inputs, self.factors, strict=True)]
        output: Any = self.layer(*scaled)
        while isinstance(output, tuple):
            output = output[0]
        return torch.as_tensor(output)


def example(name: str) -> tuple[Scaled, list[Tensor]]:
    """Make a layer of the catalog with inputs."""
    torch.manual_seed(0)
    inputs = SAMPLES[name].inputs()
    if "Unpool" in name:
        inputs[1] = torch.zeros_like(inputs[1]).long()
    layer = LAYERS[name](arguments=dict(SAMPLES[name].arguments))
    return Scaled(layer, inputs), inputs


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if name in STACKS else name
        for name in sorted(SAMPLES.keys() - NO_OPERATOR - NOT_TRACED)
    ],
)
def test_layers(name: str) -> None:
    """Loss, gradients and new running statistics of a layer equal PyTorch's up to rounding."""
    model, inputs = example(name)
    buffers = [buffer.clone() for buffer in model.buffers()]
    loss_fn = nn.MSELoss()
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        targets = torch.randn_like(copy.deepcopy(model)(*inputs))
    torch.manual_seed(1)
    with warnings.catch_warnings(action="ignore"):
        loss = loss_fn(model(*inputs), targets)
        loss.backward()
        found = trace(model, loss_fn, Samples(tuple(inputs), targets), gradients=True)
    assert untranslatable(found.graph) == []
    torch.manual_seed(1)
    tensors = [*model.parameters(), *buffers, *inputs, targets, *(draw() for draw in found.draws)]
    value, *computed = jax.jit(translated(found.graph))(*(jnp.asarray(x.detach().numpy()) for x in tensors))
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    written = dict(zip(found.written, computed[len(computed) - len(found.written) :], strict=True))
    for buffer_name, buffer in model.named_buffers():
        if buffer_name in written:
            np.testing.assert_allclose(written[buffer_name], buffer.numpy(), rtol=1e-5, atol=1e-6)
    parameters = dict(model.named_parameters())
    assert found.trained == tuple(n for n, p in parameters.items() if p.grad is not None)
    for parameter, gradient in zip(found.trained, computed[1:], strict=False):
        expected = parameters[parameter].grad
        assert expected is not None
        largest = float(expected.abs().max())
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=1e-5 * largest + 1e-12)


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.parametrize("name", sorted(NO_OPERATOR))
def test_missing_operators_are_named(name: str) -> None:
    """The missing operators of a layer that cannot be translated are named."""
    model, inputs = example(name)
    with torch.no_grad():
        targets = torch.randn_like(copy.deepcopy(model)(*inputs))
    batch = Samples(tuple(inputs), targets)
    assert untranslatable(trace(model, nn.MSELoss(), batch, gradients=True).graph)
