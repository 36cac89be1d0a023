"""The translation of traced steps to JAX, layer by layer."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from service.architectures.layers import LAYERS
from service.datasets.samples import Samples
from service.training.engines.compiled.tracing import named_tensors, trace
from service.training.engines.compiled.translation import translated, untranslatable
from tests.support.architecture_samples import SAMPLES

# Layers whose weights are functions of their parameters, by the names of the functions.
NORMALIZED: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
    "weight_norm of columns": lambda: parametrizations.weight_norm(nn.Linear(4, 3), dim=1),
    "weight_norm of a matrix": lambda: parametrizations.weight_norm(nn.Linear(4, 3), dim=None),
    "weight_norm of a vector": lambda: parametrizations.weight_norm(nn.Linear(4, 3), "bias"),
    "weight_norm of kernels": lambda: parametrizations.weight_norm(nn.Conv1d(4, 3, 2)),
    "weight_norm of inner channels": lambda: parametrizations.weight_norm(nn.Conv1d(4, 3, 2), dim=1),
    "weight_norm by a hook": lambda: nn.utils.weight_norm(nn.Linear(4, 3)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "spectral_norm by a hook": lambda: nn.utils.spectral_norm(nn.Linear(4, 3)),
    "orthogonal, square": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "orthogonal, not square": lambda: parametrizations.orthogonal(nn.Linear(4, 3)),
    "orthogonal by cayley": lambda: parametrizations.orthogonal(nn.Linear(4, 3), orthogonal_map="cayley"),
}
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
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        targets = torch.randn_like(copy.deepcopy(model)(*inputs))
    assert_a_step_agrees(model, inputs, targets)


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", NORMALIZED)
def test_normalized_weights(name: str) -> None:
    """Loss, gradients and buffers of a layer whose weight is normalized equal PyTorch's up to rounding."""
    torch.manual_seed(0)
    layer, x = NORMALIZED[name](), torch.randn(5, 4, 4)
    with torch.no_grad():
        targets = torch.randn_like(layer.eval()(x))
    assert_a_step_agrees(Scaled(layer.train(), [x]), [x], targets)


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.parametrize("counts_padding", [True, False])
@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, 1), (2, 2, 1), (4, 2, 2)])
def test_windows_that_end_before_the_padding(
    size: int, stride: int, padding: int, counts_padding: bool
) -> None:
    """An average pooling whose last window leaves out some of the padding is that of PyTorch."""
    torch.manual_seed(0)
    layer = nn.AvgPool2d(size, stride, padding, count_include_pad=counts_padding)
    x = torch.randn(2, 3, 8, 7)
    assert_a_step_agrees(Scaled(layer, [x]), [x], torch.randn_like(layer(x)))


def assert_a_step_agrees(model: nn.Module, inputs: list[Tensor], targets: Tensor) -> None:
    """Assert that a training step has PyTorch's loss, gradients and new buffers."""
    loss_fn = nn.MSELoss()
    state = [x.detach().clone() for x in named_tensors(model, loss_fn).values()]
    torch.manual_seed(1)
    with warnings.catch_warnings(action="ignore"):
        loss = loss_fn(model(*inputs), targets)
        loss.backward()
        found = trace(model, loss_fn, Samples(tuple(inputs), targets), gradients=True)
    assert untranslatable(found.graph) == []
    torch.manual_seed(1)
    tensors = [*state, *inputs, targets, *(draw() for draw in found.draws)]
    value, *computed = jax.jit(translated(found.graph))(*(jnp.asarray(x.numpy()) for x in tensors))
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
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=1e-5 * largest + 1e-8)


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.parametrize("name", sorted(NO_OPERATOR))
def test_missing_operators_are_named(name: str) -> None:
    """The missing operators of a layer that cannot be translated are named."""
    model, inputs = example(name)
    with torch.no_grad():
        targets = torch.randn_like(copy.deepcopy(model)(*inputs))
    batch = Samples(tuple(inputs), targets)
    assert untranslatable(trace(model, nn.MSELoss(), batch, gradients=True).graph)
