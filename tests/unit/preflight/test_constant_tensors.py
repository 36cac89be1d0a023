"""Classes with tensors that are not part of the model's state: eager, or refused with a reason."""

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
    "self.scaled(x)",
]
COMPUTED = [
    "self.out(x) * torch.arange(1, 3)",
    "self.out(x) @ torch.eye(2)",
    "self.out(x) + torch.full((2,), 3.0)",
]


def document(result: str, engine: str) -> dict[str, Any]:
    """Return a long training of the class that returns an expression."""
    return {
        "data": {"inputs": [[0.0], [1.0], [2.0], [3.0]], "targets": [[0.0, 1.0]] * 4},
        "architecture": {"type": "class", "source": CLASS.replace("RESULT", result)},
        "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 20_000},
        "engine": engine,
    }


@pytest.mark.parametrize("result", CONSTANTS)
def test_a_constant_tensor_is_trained_by_the_eager_engine(
    result: str, plan: Callable[[Any], PreflightResult]
) -> None:
    """`compiled` is refused with a reason in words, which under `auto` is the reason for `eager`."""
    reason = "The model uses operators that the compiled engine does not support: `a constant tensor`."
    with pytest.raises(InvalidRequest) as raised:
        plan(document(result, "compiled"))
    (error,) = raised.value.errors
    assert (error.pointer, error.detail) == (
        "#/architecture",
        f"{reason} Use the engine `eager` or `auto`.",
    )
    used = plan(document(result, "auto")).used
    assert (used["engine"], used["engine_reason"]) == ("eager", reason)


@pytest.mark.parametrize("result", COMPUTED)
def test_a_tensor_that_operators_compute_is_compiled(
    result: str, plan: Callable[[Any], PreflightResult]
) -> None:
    """Ranges, unit matrices and filled tensors are operators of a program."""
    assert plan(document(result, "compiled")).used["engine"] == "compiled"
