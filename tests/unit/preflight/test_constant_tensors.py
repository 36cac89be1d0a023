"""Classes with tensors that are not part of the model's state are compiled, or refused with a reason."""

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.preflight.result import PreflightResult

CLASS = """C = torch.tensor([1.0, 2.0])

class Net(nn.Module):
    K = torch.tensor([1.0, 2.0])

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 2)
        self.listed = [torch.tensor([1.0, 2.0])]
        self.drawn = torch.rand(2)
        PREPARED

    def scaled(self, x, by=torch.tensor([1.0, 2.0])):
        return self.out(x) * by

    def forward(self, x):
        return RESULT
"""
CONSTANTS = [
    "self.out(x) * torch.tensor([1.0, 2.0])",
    "self.out(x) * torch.tensor(2.0)",
    "self.out(x) + torch.as_tensor([1.0, 2.0], dtype=x.dtype)",
    "self.out(x) + x.new_tensor([1.0, 2.0])",
    "self.out(x) / torch.sqrt(torch.tensor(2.0))",
    "torch.where(self.out(x) > 0, self.out(x), torch.tensor(0.0))",
    "self.out(x)[:, [1, 0]]",
    "self.out(x) * C",
    "self.out(x) * self.K",
    "self.out(x) * self.listed[0]",
    "self.out(x) * self.drawn",
    "self.scaled(x)",
    "self.out(x) * torch.arange(1, 3)",
    "self.out(x) @ torch.eye(2)",
    "self.out(x) + torch.full((2,), 3.0)",
]
REFUSED = {
    "self.factor = torch.rand(1).item()": "The constructor reads random numbers",
    "self.factors = [float(each) for each in torch.rand(2)]": "The constructor reads random numbers",
    "self.out = nn.Linear(1, 2, bias=bool(torch.rand(1) < 0.5))": "The constructor reads random numbers",
    "self.view = self.out.weight.detach()": "A tensor of the class is neither a parameter nor a buffer",
    "self.twice = self.out.weight * 2": "A tensor of the class is neither a parameter nor a buffer",
}


def document(result: str, prepared: str = "pass") -> dict[str, Any]:
    """Return a long compiled training of the class that prepares itself and returns an expression."""
    source = CLASS.replace("RESULT", result).replace("PREPARED", prepared)
    return {
        "data": {"inputs": [[0.0], [1.0], [2.0], [3.0]], "targets": [[0.0, 1.0]] * 4},
        "architecture": {"type": "class", "source": source},
        "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 20_000},
        "engine": "compiled",
    }


@pytest.mark.parametrize("result", CONSTANTS)
def test_a_constant_tensor_is_compiled(result: str, plan: Callable[[Any], PreflightResult]) -> None:
    """Tensors of numbers, of attributes, lists, default values and variables are part of a program."""
    assert plan(document(result)).used["engine"] == "compiled"


@pytest.mark.parametrize("prepared", REFUSED)
def test_other_operations_for_each_seed_are_refused(
    prepared: str, plan: Callable[[Any], PreflightResult]
) -> None:
    """A program serves all seeds, and takes only parameters from the state."""
    with pytest.raises(InvalidRequest) as raised:
        plan(document("self.out(x)", prepared))
    (error,) = raised.value.errors
    assert error.pointer == "#/architecture"
    assert error.detail.startswith(REFUSED[prepared])
    assert plan(document("self.out(x)", prepared) | {"engine": "auto"}).used["engine"] == "eager"
