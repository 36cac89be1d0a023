"""Running out of memory, in words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from service.training.out_of_memory import describe, is_out_of_memory

MUCH = 2**60


class Greedy(nn.Module):
    """A layer that asks for more memory than there is."""

    def forward(self, x: Tensor) -> Tensor:
        """Ask for it."""
        return torch.empty(MUCH) + x


class GreedyBackward(torch.autograd.Function):
    """A function whose gradient asks for more memory than there is."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """Nothing special."""
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Ask for it."""
        return torch.empty(MUCH) + gradient


def caught(call: Callable[[], object]) -> BaseException:
    """The error of a call that must fail."""
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        call()
    return raised.value


def test_the_layer_is_named() -> None:
    """The innermost layer at work is to blame, by its name in the model and its kind."""
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), Greedy()))
    error = caught(lambda: model(torch.zeros(1)))
    assert is_out_of_memory(error)
    assert describe(error, model) == f"Layer `1.1` (Greedy) asked for {MUCH * 4 / 2**30:.1f} GiB"


def test_the_backward_pass_is_named() -> None:
    """In the backward pass there is no layer to name."""
    loss = GreedyBackward.apply(torch.zeros(1, requires_grad=True))  # type: ignore[no-untyped-call]
    error = caught(loss.backward)
    assert is_out_of_memory(error)
    assert describe(error, nn.Identity()).startswith("The backward pass asked for")


def test_a_gpus_complaint_is_understood() -> None:
    """What CUDA's allocator says has the amount too."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total …")
    assert is_out_of_memory(error)
    assert describe(error, nn.Identity()) == "The training asked for 20.00 GiB"


def test_a_programs_complaint_is_understood() -> None:
    """What XLA says of a compiled step has the amount too, on the CPU and on a GPU."""
    for words in ("allocating", "while trying to allocate"):
        error = RuntimeError(f"RESOURCE_EXHAUSTED: Out of memory {words} 14402640632 bytes.")
        assert is_out_of_memory(error)
        assert describe(error, nn.Identity()) == "The training asked for 13.4 GiB"


def test_without_a_model_or_an_amount() -> None:
    """Before there is a model, and where no amount is told, that is said."""
    assert is_out_of_memory(MemoryError())
    assert describe(MemoryError(), None) == "Reading the data and building the model asked for memory"
    assert not is_out_of_memory(ValueError("shapes differ"))
