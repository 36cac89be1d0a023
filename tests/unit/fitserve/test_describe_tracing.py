"""Forward texts of traced modules compute what `forward` computes, or the error names the reason."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fitserve.describe import NotDescribable, describe
from service.architectures.build import build
from service.specs.architecture import read_architecture


class Net(nn.Module):
    """A module whose `forward` is a function."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.compute = compute
        self.linear = nn.Linear(2, 2)
        self.inner = Inner()
        self.act = nn.ReLU(inplace=True)
        self.scale = np.array([1, 2], dtype="float32")
        self.constant = torch.tensor([[1.5, 2.5]])
        self.p = 0.5

    def forward(self, x: Tensor) -> Any:
        """Call the function."""
        return self.compute(self, x)


class Inner(nn.Module):
    """A module with optional inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Any:
        """Scale and mask."""
        if mask is not None:
            x = x * mask
        return self.linear(x) * scale


def if_training(self: Net, x: Tensor) -> Any:
    return self.linear(x * 2 if self.training else x)


def without_gradients(self: Net, x: Tensor) -> Any:
    with torch.no_grad():
        x = self.linear(x)
    return x * 2


def stores(self: Net, x: Tensor) -> Any:
    self.last = x
    return self.linear(x)


def counts(self: Net, x: Tensor) -> Any:
    self.p += 1
    return self.linear(x)


def assigns(self: Net, x: Tensor) -> Any:
    x = self.linear(x)
    x[0] = 1
    return x


def changes_the_input(self: Net, x: Tensor) -> Any:
    x += 1
    return self.linear(x)


def changes_a_view(self: Net, x: Tensor) -> Any:
    x = self.linear(x)
    view = x.view(-1, 2)
    view *= 2
    return x


def changes_what_is_read_later(self: Net, x: Tensor) -> Any:
    x = self.linear(x)
    F.relu(x, inplace=True)
    return x


def changes_by_a_method(self: Net, x: Tensor) -> Any:
    x = self.linear(x)
    x.add_(1)
    return x


class Backward(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """Return the sign."""
        return torch.sign(x)


REFUSED = [
    (if_training, "does in training what it does not do in evaluation"),
    (lambda self, x: F.dropout(x, self.p if self.training else 0.0), "does in training what it does not"),
    (lambda self, x: x if isinstance(x, Tensor) else -x, "asks for the type of a value"),
    (lambda self, x: x if random.random() < 0.5 else -x, "draws random numbers outside"),
    (lambda self, x: x * np.random.rand(), "draws random numbers outside"),
    (lambda self, x: x * torch.rand(1).item(), "no method `item`"),
    (lambda self, x: x * torch.rand_like(self.constant), "draws random numbers outside"),
    (without_gradients, "switches gradients off"),
    (lambda self, x: Backward.apply(x), "switches gradients off"),
    (stores, "changes `last` of a module"),
    (counts, "changes `p` of a module"),
    (assigns, "assigns to a part of a tensor"),
    (changes_the_input, "`iadd` changes a tensor in place that is read elsewhere"),
    (changes_a_view, "`imul` changes a tensor in place that is read elsewhere"),
    (changes_what_is_read_later, "`relu` changes a tensor in place that is read elsewhere"),
    (changes_by_a_method, "`add_` changes a tensor in place that is read elsewhere"),
    (lambda self, x: x / len(x), "write `x.shape[0]`"),
    (lambda self, x: torch.distributions.Normal(torch.zeros(2), torch.ones(2)).cdf(x), "cannot be traced"),
    (lambda self, x: x if x.sum() > 0 else -x, "depends on the values or the shape"),
    (lambda self, x: torch.stack([row for row in x]), "whose length is not known"),  # noqa: C416
    (lambda self, x: self.inner(self.inner(x), x), "with different optional arguments"),
    (lambda self, x: self.unknown, "AttributeError"),
    (lambda self, x: 1 / 0, "ZeroDivisionError"),
    (lambda self, x: {}["a"], "KeyError"),
    (lambda self, x: self.forward(x), "nested too deeply"),
    (lambda self, x: x + np.ones(2000), "2000 numbers"),
]


@pytest.mark.parametrize(("compute", "words"), REFUSED)
def test_what_a_trace_would_lose_is_refused(compute: Callable[..., Any], words: str) -> None:
    """The error names the class and the reason, and the module is left as it was."""
    module = Net(compute)
    before = dict(vars(module))
    with pytest.raises(NotDescribable) as error:
        describe(module, source=False)
    assert words in str(error.value)
    assert str(error.value).startswith("Net")
    assert vars(module) == before


def adds_in_place(self: Net, x: Tensor) -> Any:
    h = self.linear(x)
    h += x
    h = h.mul_(2)
    return F.relu(h, inplace=True)


def unpacks(self: Net, x: Tensor) -> Any:
    rows, columns = x.shape
    return self.linear(x) + torch.ones(rows, columns, device=x.device)


DESCRIBED = [
    adds_in_place,
    unpacks,
    lambda self, x: F.dropout(self.linear(x), self.p, self.training),
    lambda self, x: F.dropout(self.linear(x), 0.3),
    lambda self, x: F.dropout(self.linear(x), 0.3, training=False),
    lambda self, x: self.linear(x * self.scale),
    lambda self, x: self.linear(x) + self.constant * 2,
    lambda self, x: self.linear(x) * np.float32(2.5),
    lambda self, x: self.linear(x) * torch.rand(2),
    lambda self, x: self.inner(x, None, scale=3.0),
    lambda self, x: self.inner(x, x, scale=3.0),
    lambda self, x: self.inner(x, mask=x),
    lambda self, x: self.linear(x.to("cpu").to(device="cpu")),
]


def built(module: nn.Module) -> nn.Module:
    """Build the described module with the parameters of the original."""
    again = build(read_architecture(describe(module, source=False)))
    again.load_state_dict(module.state_dict(), strict=True)
    return again


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # of a tensor times an array
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("compute", DESCRIBED)
def test_a_described_module_computes_the_same(compute: Callable[..., Any], training: bool) -> None:
    """Outputs and gradients are equal bit for bit, in training and in evaluation."""
    module, x = Net(compute), torch.randn(3, 2)
    again = built(module)
    outputs = []
    for each in (module, again):
        torch.manual_seed(0)
        outputs.append(each.train(training)(x))
        outputs[-1].square().sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    for one, other in zip(module.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


# Steps of a `forward`: each takes and returns two tensors, which may share memory.
STEPS: list[Callable[[Net, Any, Any], tuple[Any, Any]]] = [
    lambda self, x, y: (self.linear(x), x),
    lambda self, x, y: (self.act(x), y),
    lambda self, x, y: (x.view(-1, 2), x),
    lambda self, x, y: (x, x[:, :1]),
    lambda self, x, y: (x.add_(1), y),
    lambda self, x, y: (x, y.mul_(2)),
    lambda self, x, y: (F.relu(x, inplace=True), y),
    lambda self, x, y: (x + y, y),
    lambda self, x, y: (F.dropout(x, 0.5, self.training), y),
    lambda self, x, y: (x if self.training else y + 0 * x, y),
    lambda self, x, y: (self.inner(x, y), y),
    lambda self, x, y: (self.inner(x), x),
    lambda self, x, y: (x * len(x), y),
    lambda self, x, y: (x * torch.rand(1), y),
    lambda self, x, y: (x * self.p, y),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
def test_any_forward_is_described_right_or_refused(steps: list[Callable[..., tuple[Any, Any]]]) -> None:
    """Whatever a `forward` does, the built module computes the same, or `describe` raises NotDescribable."""

    def compute(self: Net, x: Tensor) -> Any:
        pair: tuple[Any, Any] = (x + 0, x)
        for step in steps:
            pair = step(self, *pair)
        return pair[0] + pair[1]

    module, x = Net(compute), torch.randn(3, 2)
    try:
        again = built(module)
    except NotDescribable:
        return
    for training in (True, False):
        torch.manual_seed(0)
        expected = module.train(training)(x.clone())
        torch.manual_seed(0)
        torch.testing.assert_close(again.train(training)(x.clone()), expected, rtol=0, atol=0)
