"""The functions of forward texts in compiled programs."""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.architectures.text.functions import FUNCTIONS
from service.datasets.samples import Samples
from service.training.engines.compiled.tracing import Trace, trace
from service.training.engines.compiled.translation import translated, untranslatable
from tests.unit.architectures.text.test_functions import VALUES, call_of

INPUTS = {name: value for name, value in VALUES.items() if not value.is_complex()}
PAGE = Path(__file__).parents[5] / "docs" / "reference" / "compiled.md"
FLOATS = [name for name, value in VALUES.items() if value.is_floating_point()]
# Functions whose operators are more than a call of JAX, in one program.
QUICK = """
    torch.bucketize torch.cdist torch.cummax torch.cumprod torch.diagonal_scatter torch.fft.irfft
    torch.fft.rfft torch.linalg.solve torch.logdet torch.median torch.mode torch.scatter_reduce
    torch.special.log_ndtr torch.take torch.topk Tensor.unfold F.adaptive_max_pool3d F.embedding_bag
    F.grid_sample F.pdist
"""
# Arguments that PyTorch does not differentiate by.
FIXED = {
    "batch_norm": FLOATS,
    "binary_cross_entropy_with_logits": ["v", "y"],
    "floor_divide": FLOATS,
    "heaviside": FLOATS,
    "soft_margin_loss": ["y"],
    "vander": FLOATS,
}


class Calls(nn.Module):
    """Calls of functions, whose floating-point arguments are multiplied by parameters of 1.

    The output [calls] is the sum of all elements of each result, times different factors.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names
        self.factors = nn.ParameterDict({name: torch.ones_like(VALUES[name]) for name in FLOATS})

    def forward(self, *values: Tensor) -> Tensor:
        """Return the sums."""
        named = dict(zip(INPUTS, values, strict=True))
        named["z"] = torch.complex(named["x"], named["x"] + 1)
        return torch.stack([self.total(name, named) for name in self.names])

    def total(self, name: str, values: dict[str, Tensor]) -> Tensor:
        """Return the sum of a call."""
        fixed = FIXED.get(name.rpartition(".")[2], [])
        scaled = {key: values[key] * self.factors[key] for key in FLOATS if key not in fixed}
        call = re.sub(r"torch\.(arange|eye)\((\d+)\)", r"torch.\1(\2, device=x.device)", call_of(name))
        result = eval(call, {"torch": torch, "F": F, "math": math, **values, **scaled})
        total = values["x"].new_zeros(()) + 0 * sum(factor.sum() for factor in self.factors.values())
        for each in tensors(result):
            real = (torch.view_as_real(each) if each.is_complex() else each).float().ravel()
            total = total + (real * torch.linspace(0.5, 1.5, len(real), device=real.device)).sum() / max(
                len(real), 1
            )
        return total


def tensors(value: Any) -> Iterator[Tensor]:
    """Iterate over the tensors of a result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors(each)


def traced(model: nn.Module, targets: Tensor) -> Trace:
    """Trace one step."""
    return trace(model, nn.MSELoss(), Samples(tuple(INPUTS.values()), targets), gradients=True)


def assert_agree(names: Sequence[str]) -> None:
    """Assert that a program computes the sums of calls, and the gradients of their squares, as PyTorch."""
    model = Calls(names)
    torch.manual_seed(1)
    outputs = model(*INPUTS.values())
    targets = torch.zeros_like(outputs)
    nn.functional.mse_loss(outputs, targets).backward()
    found = traced(model, targets)
    assert untranslatable(found.graph) == []
    torch.manual_seed(1)
    draws = (draw() for draw in found.draws)
    arrays = [*model.parameters(), *INPUTS.values(), targets, *found.constants, *draws]
    computed = jax.jit(translated(found.graph))(*(jnp.asarray(each.detach().numpy()) for each in arrays))
    for name, value, expected in zip(names, computed[1], outputs.tolist(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    parameters = dict(model.named_parameters())
    for name, gradient in zip(found.trained, computed[2:], strict=True):
        of_torch = parameters[name].grad
        assert of_torch is not None
        largest = float(of_torch.abs().max())
        np.testing.assert_allclose(
            gradient, of_torch.numpy(), rtol=0, atol=1e-4 * largest + 1e-6, err_msg=name
        )


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore")
def test_functions() -> None:
    """Functions whose operators are written here have PyTorch's values and gradients."""
    assert_agree(QUICK.split())


def eager_only() -> dict[str, str]:
    """Return the functions that the page names as not compiled, with the reason."""
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: reason for names, reason in rows for name in re.findall(r"`([\w.]+)`", names)}


@pytest.mark.exhaustive
@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function(name: str) -> None:
    """A function of forward texts is compiled, or the page says why it is not."""
    if name in eager_only() or name.replace("Tensor.", "torch.") in eager_only():
        with warnings.catch_warnings(action="ignore"):
            try:
                missing = untranslatable(traced(Calls([name]), torch.zeros(1)).graph)
            except (RuntimeError, ValueError):
                return
        assert missing
    else:
        assert_agree([name])
