"""The modules of PyTorch's own tests in compiled programs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.common_modules import module_db
from torch.utils import _pytree as pytree

from service.datasets.samples import Samples
from service.training.engines.compiled.losses import traceable_loss
from service.training.engines.compiled.tracing import UNTRACEABLE, trace
from service.training.engines.compiled.translation import translated, untranslatable
from tests.support.architecture_samples import SAMPLES

PAGE = Path(__file__).parents[5] / "docs" / "reference" / "compiled.md"
EAGER = set(re.findall(r"^\| `nn\.(\w+)` \|", PAGE.read_text(), re.MULTILINE))
MODULES = {info.module_cls.__name__: info for info in module_db}
BATCHED = {"MultiLabelMarginLoss", "MultiMarginLoss"}  # the rewritten losses take batches only
FRACTIONAL = {"FractionalMaxPool2d", "FractionalMaxPool3d"}  # their inputs in these tests are invalid
STEPS, RATE = 50, 1e-4
INPUT = object()  # the place of a tensor among the arguments of a call


class Called(nn.Module):
    """A module with the arguments of a call, of which tensors are inputs, times trainable factors."""

    def __init__(self, layer: nn.Module, arguments: Any) -> None:
        super().__init__()
        self.layer = traceable_loss(layer)
        leaves, self.structure = pytree.tree_flatten(arguments)
        self.leaves = [INPUT if isinstance(each, Tensor) else each for each in leaves]
        self.factors = nn.ParameterList(
            torch.ones_like(each) if each.requires_grad else torch.ones(())
            for each in leaves
            if isinstance(each, Tensor)
        )
        self.is_scaled = [each.requires_grad for each in leaves if isinstance(each, Tensor)]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return all outputs of the module as a vector."""
        scaled = (
            x * factor if is_scaled else x
            for x, factor, is_scaled in zip(inputs, self.factors, self.is_scaled, strict=True)
        )
        leaves = [next(scaled) if each is INPUT else each for each in self.leaves]
        positional, named = pytree.tree_unflatten(leaves, self.structure)
        outputs = pytree.tree_leaves(self.layer(*positional, **named))
        return torch.cat([each.reshape(-1) for each in outputs if isinstance(each, Tensor)])


Call = tuple[Called, tuple[Tensor, ...]]


def calls(name: str) -> Iterator[Call]:
    """Iterate over the calls of a module in PyTorch's tests: modules with their inputs."""
    info = MODULES[name]
    torch.manual_seed(0)
    for training in (True, False):
        for case in info.module_inputs_func(
            info, "cpu", torch.float32, requires_grad=True, training=training
        ):
            call = case.forward_input
            layer = info.module_cls(*case.constructor_input.args, **case.constructor_input.kwargs)
            if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
                layer(*call.args, **call.kwargs)
            arguments = (call.args, call.kwargs)
            inputs = tuple(x.detach() for x in pytree.tree_leaves(arguments) if isinstance(x, Tensor))
            if name not in BATCHED or inputs[0].dim() > 1:
                yield Called(layer, arguments).train(training), inputs


def assert_steps_agree(model: Called, inputs: tuple[Tensor, ...], steps: int, tolerance: float) -> None:
    """Assert that losses and parameters of some steps of gradient descent are PyTorch's."""
    outputs = model(*inputs)
    targets = torch.randn_like(outputs)
    found = trace(model, nn.MSELoss(), Samples(inputs, targets), gradients=True)
    assert untranslatable(found.graph) == []
    step = jax.jit(translated(found.graph))
    state = {
        name: jnp.asarray(x.detach().numpy())
        for name, x in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items()
    }
    constants = [jnp.asarray(x.numpy()) for x in (*inputs, targets, *found.constants)]
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(*inputs), targets)
        gradients = torch.autograd.grad(loss, [model.get_parameter(name) for name in found.trained])
        computed, _, *results = step(*state.values(), *constants)
        np.testing.assert_allclose(computed, loss.item(), rtol=tolerance, atol=1e-7)
        for name, expected, gradient in zip(found.trained, gradients, results, strict=False):
            largest = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
            np.testing.assert_allclose(
                gradient, expected.numpy(), rtol=0, atol=10 * tolerance * largest + 1e-6
            )
            with torch.no_grad():
                model.get_parameter(name).sub_(expected, alpha=RATE)
            state[name] = state[name] - RATE * gradient
        state.update(zip(found.written, results[len(found.trained) :], strict=True))


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [  # `test_translation` runs a step of each layer of the catalog
        pytest.param(name, marks=pytest.mark.exhaustive if name in SAMPLES else ())
        for name in sorted(MODULES.keys() - EAGER)
    ],
)
def test_a_step_of_a_module(name: str) -> None:
    """A step of a module has PyTorch's loss and gradients."""
    assert_steps_agree(*next(calls(name)), 1, 1e-5)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(MODULES.keys() - EAGER))
def test_many_steps_of_a_module(name: str) -> None:
    """50 steps of each call of a module have PyTorch's losses and gradients."""
    for model, inputs in calls(name):
        assert_steps_agree(model, inputs, STEPS, 1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(EAGER & MODULES.keys() - FRACTIONAL))
def test_modules_that_are_not_compiled(name: str) -> None:
    """What the page says to be not compiled has no trace."""
    model, inputs = next(calls(name))
    targets = torch.randn_like(model(*inputs))
    with pytest.raises(UNTRACEABLE):
        trace(model, nn.MSELoss(), Samples(inputs, targets), gradients=True)
