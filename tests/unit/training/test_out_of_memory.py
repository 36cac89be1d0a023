"""Descriptions of out-of-memory errors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.specs.architecture import read_architecture
from service.training.out_of_memory import describe, is_out_of_memory

MUCH = 2**60


class Greedy(nn.Module):
    """A layer that allocates more memory than the machine has."""

    def forward(self, x: Tensor) -> Tensor:
        """Allocate too much memory."""
        return torch.empty(MUCH) + x


class GreedyBackward(torch.autograd.Function):
    """A function whose backward pass allocates more memory than the machine has."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """Return a copy."""
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Allocate too much memory."""
        return torch.empty(MUCH) + gradient


def caught(call: Callable[[], object]) -> BaseException:
    """Return the error that a call raises."""
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        call()
    return raised.value


def test_the_layer_is_named() -> None:
    """The innermost layer in the traceback is named, by its name in the model and its class."""
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), Greedy()))
    error = caught(lambda: model(torch.zeros(1)))
    assert is_out_of_memory(error)
    assert describe(error, model) == f"Layer `1.1` (Greedy) tried to allocate {MUCH * 4 / 2**30:.1f} GiB"


def test_the_backward_pass_is_named() -> None:
    """An error in the backward pass names the pass, not a layer."""
    loss = GreedyBackward.apply(torch.zeros(1, requires_grad=True))  # type: ignore[no-untyped-call]
    error = caught(loss.backward)
    assert is_out_of_memory(error)
    assert describe(error, nn.Identity()).startswith("The backward pass tried to allocate")


def test_the_message_of_cuda_is_recognized() -> None:
    """The size is read from the message of CUDA's allocator."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total …")
    assert is_out_of_memory(error)
    assert describe(error, nn.Identity()) == "The training tried to allocate 20.00 GiB"


def test_the_message_of_xla_is_recognized() -> None:
    """The size is read from XLA's messages on a CPU and on a GPU."""
    for words in ("allocating", "while trying to allocate"):
        error = RuntimeError(f"RESOURCE_EXHAUSTED: Out of memory {words} 14402640632 bytes.")
        assert is_out_of_memory(error)
        assert describe(error, nn.Identity()) == "The training tried to allocate 13.4 GiB"


class GreedyOnGpu(nn.Module):
    """A layer for which a GPU has too little memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Fail as CUDA's allocator does."""
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total …")


def test_a_layer_of_a_forward_text_is_named() -> None:
    """An error of memory inside a `module` architecture is one, and names the submodule."""
    fc = {"type": "Linear", "in_features": 1, "out_features": 1}
    spec = {"type": "module", "submodules": {"fc": fc}, "forward": "return self.fc(x)", "inputs": ["x"]}
    model = build(read_architecture(spec))
    model.fc = GreedyOnGpu()
    error = caught(lambda: model(torch.zeros(1, 1)))
    assert is_out_of_memory(error)
    assert describe(error, model) == "Layer `fc` (GreedyOnGpu) tried to allocate 20.00 GiB"


def test_without_a_model_or_an_amount() -> None:
    """An error before the model is built, or without a size, has a description too."""
    assert is_out_of_memory(MemoryError())
    assert describe(MemoryError(), None) == "Reading the data and building the model tried to allocate memory"
    assert not is_out_of_memory(ValueError("shapes differ"))
