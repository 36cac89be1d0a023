"""Specs of modules, described without the service."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fitserve.describe import NotDescribable, describe
from fitserve.describe.layers import LAYER_NAMES, SIZES_WITH_DEFAULT, layer_arguments
from service.architectures.layers import LAYERS


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_torch_the_import_says_what_is_missing() -> None:
    """Importing `describe` without PyTorch raises an ImportError that names PyTorch."""
    result = python("import sys; sys.modules['torch'] = None; import fitserve, fitserve.describe")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: fitserve.describe needs PyTorch")


def test_describing_needs_neither_pydantic_nor_the_service() -> None:
    """A module is described in a process that loads no pydantic and no module of the service."""
    result = python(
        "import sys; sys.modules['pydantic'] = sys.modules['service'] = None\n"
        "from torch import nn; from fitserve.describe import describe\n"
        "print(describe(nn.Sequential(nn.Linear(1, 2), nn.Tanh())))"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == (
        "{'type': 'sequential', 'layers': [{'type': 'Linear', 'in_features': 1, 'out_features': 2}, "
        "{'type': 'Tanh'}]}"
    )


@pytest.mark.parametrize("name", sorted(LAYER_NAMES))
def test_the_arguments_are_those_that_the_service_accepts(name: str) -> None:
    """`describe` and the service agree on a layer's arguments, their order, defaults and required ones."""
    fields = LAYERS[name].model.model_fields
    arguments = layer_arguments(name)
    assert list(arguments) == list(fields)
    for argument, default in arguments.items():
        required = default is inspect.Parameter.empty or (name, argument) in SIZES_WITH_DEFAULT
        assert required == (fields[argument].is_required() or argument in LAYERS[name].inferred)
        if not required:
            assert fields[argument].default == default


class Computes(nn.Module):
    """A module whose `forward` is a function."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.compute = compute
        self.constant = torch.ones(2)

    def forward(self, x: Tensor) -> Any:
        """Call the function."""
        return self.compute(self, x)


class NoInput(nn.Module):
    """A module whose `forward` has no input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self) -> Tensor:
        """Return the parameter."""
        return self.weight


class Listed(nn.Module):
    """A module with a list of parameters."""

    def __init__(self, *others: Any) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.ones(3), *others])

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the parameter."""
        return x * self.scales[0]


class Named(nn.Module):
    """A module with a submodule of any name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """Return the input."""
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NoInput(), "NoInput: its forward has no input"),
        (Listed(2), "Listed.scales has an entry that is no parameter"),
        (nn.Sequential(nn.ParameterList([torch.ones(3)])), "Sequential has an entry without a forward pass"),
        (Named("größe"), "cannot have the name `größe`"),
        (nn.TransformerEncoderLayer(4, 2, activation=torch.tanh), "activation is `tanh`"),
        (nn.TransformerEncoderLayer(4, 2, activation=nn.ELU()), "activation is `ELU`"),
        (
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(4, 2), 1, norm=nn.BatchNorm1d(4), enable_nested_tensor=False
            ),
            "norm is a BatchNorm1d",
        ),
        (Computes(lambda self, x: x.item()), "no method `item`"),
        (Computes(lambda self, x: x.grad), "no attribute `grad`"),
        (Computes(lambda self, x: x * float("nan")), "no value `nan`"),
        (Computes(lambda self, x: x.to(torch.complex128)), "no dtype `torch.complex128`"),
        (Computes(lambda self, x: torch.norm(x, dtype=torch.float64)), "argument `dtype`"),
        (Computes(lambda self, x: x.cumsum(0, 1)), "`Tensor.cumsum` is called with 3 arguments"),
    ],
)
def test_what_a_spec_cannot_express_is_refused_with_its_location(model: nn.Module, message: str) -> None:
    """The error names the module and the layer, argument or operation."""
    with pytest.raises(NotDescribable) as error:
        describe(model, source=False)
    assert message in str(error.value)
    assert type(model).__name__ in str(error.value)
