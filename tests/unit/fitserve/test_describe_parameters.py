"""Values of described modules, as the service's model loads them."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from fitserve.describe import NotDescribable, describe, parameters
from service.architectures.build import build
from service.specs.architecture import read_architecture


class Tied(nn.Module):
    """Two layers that share a weight, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        out: Tensor = self.norm(self.two(self.one(x)))
        return out


@pytest.mark.parametrize(
    "module", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), Tied()], ids=str
)
def test_the_described_model_starts_where_the_module_is(module: nn.Module) -> None:
    """The model of the spec loads the file strictly and computes the same."""
    x = torch.randn(6, 3)
    module(x)  # statistics of the normalization
    built = build(read_architecture(describe(module)))
    built.load_state_dict(load(parameters(module)), strict=True)
    torch.testing.assert_close(built.eval()(x), module.eval()(x), rtol=0, atol=0)


def test_a_module_without_values_has_none_to_send() -> None:
    """The error says that there are no parameters."""
    with pytest.raises(NotDescribable, match="no parameters or buffers"):
        parameters(nn.Tanh())


def test_without_safetensors_the_error_says_what_to_install() -> None:
    """`describe` works without safetensors; `parameters` names it."""
    code = (
        "import sys; sys.modules['safetensors'] = sys.modules['safetensors.torch'] = None\n"
        "from torch import nn; from fitserve.describe import describe, parameters\n"
        "describe(nn.Linear(1, 1)); parameters(nn.Linear(1, 1))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "install it with `pip install safetensors`" in result.stderr
