"""Modules that are described by the source of their class and the arguments of its constructor."""

import math
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch import nn as layers
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from fitserve.describe import InitialValuesWarning, NotDescribable, describe
from service.architectures.build import build
from service.specs.architecture import read_architecture

SCALE = 0.5
ACTIVATIONS = {"relu": nn.ReLU, "tanh": torch.tanh, "own": lambda: None}
SECRET = "not sent"


def scaled(x: Any, by: float = SCALE) -> Any:
    """Scale a value."""
    return x * by


class Base(nn.Module):
    """A base class with a helper."""

    gain = 2

    def scale(self, x: Tensor) -> Any:
        """Scale by a constant of the class and one of the file."""
        return scaled(x) * self.gain


class Block(layers.Module):
    """A block with a size."""

    def __init__(self, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Any:
        """Add to the input."""
        return x + self.dropout(F.relu(self.linear(x)))


class Net(Base):
    """A class that keeps its arguments."""

    def __init__(self, features: int, blocks: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.features = features
        self.blocks = nn.Sequential(OrderedDict((f"b{n}", Block(features, dropout)) for n in range(blocks)))
        self.head = nn.Linear(features, 1)
        nn.init.normal_(self.head.weight, std=math.sqrt(2) / 10)

    def forward(self, x: Tensor) -> Any:
        """Run the blocks."""
        return self.head(self.scale(self.blocks(x)))


class Hidden(nn.Module):
    """A class that keeps none of its arguments."""

    def __init__(self, features: int, hidden: int = 8, p: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.Dropout(p), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Any:
        """Run the layers."""
        return self.layers(x)


@dataclass
class Config:
    """Sizes of a model."""

    width: int = 4
    depth: int = 2


class Configured(nn.Module):
    """A class with an object as its argument."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(*[nn.Linear(config.width, config.width) for _ in range(config.depth)])

    def forward(self, x: Tensor) -> Any:
        """Run the layers."""
        return self.layers(x)


class Tied(nn.Module):
    """A class whose layers share a weight, have a buffer, a frozen part and a norm of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)))
        self.frozen = nn.Linear(4, 4)
        for parameter in self.frozen.parameters():
            parameter.requires_grad = False
        self.normed = weight_norm(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Any:
        """Run the layers."""
        return self.normed(self.frozen(self.two(self.one(x)) @ self.mask))


def assert_same(module: nn.Module, spec: Any, shape: tuple[int, ...]) -> None:
    """Build a spec with the seed of the module, and compare names, values, outputs and gradients."""
    torch.manual_seed(3)
    built = build(read_architecture(spec))
    torch.testing.assert_close(built.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert list(built.state_dict()) == list(module.state_dict())
    assert [each.requires_grad for each in built.parameters()] == [
        each.requires_grad for each in module.parameters()
    ]
    x = torch.randn(shape)
    for training in (True, False):
        outputs = []
        for each in (built, module):
            torch.manual_seed(1)
            outputs.append(each.train(training)(x))
            outputs[-1].sum().backward()
        torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    for one, other in zip(built.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "arguments", "found"),
    [
        (lambda: Net(4), None, {"features": 4}),
        (lambda: Net(4, 3), None, {"features": 4, "blocks": 3}),
        (lambda: Net(4, 3, 0.3), None, {"features": 4, "blocks": 3, "dropout": 0.3}),
        (lambda: Net(4, 3, 0.3), {"features": 4, "blocks": 3, "dropout": 0.3}, None),
        (lambda: Hidden(4), None, {"features": 4}),
        (lambda: Hidden(4, 6, 0.2), None, {"features": 4, "hidden": 6, "p": 0.2}),
        (lambda: Configured(Config(4, 3)), None, {"config": {"width": 4, "depth": 3}}),
        (lambda: Configured(SimpleNamespace(width=4, depth=3)), None, {"config": {"width": 4, "depth": 3}}),
        (Tied, None, {}),
    ],
)
def test_a_class_is_sent_with_its_arguments(
    make: Callable[[], nn.Module], arguments: Any, found: dict[str, Any] | None
) -> None:
    """The service constructs the class with the bits that it has when run as Python."""
    torch.manual_seed(3)
    module = make()
    spec = describe(module, arguments=arguments)
    assert spec["type"] == "class"
    assert spec["class_name"] == type(module).__name__
    assert spec["arguments"] == (arguments if found is None else found)
    assert_same(module, spec, (5, 4))


def test_the_source_has_what_the_class_uses_and_nothing_else() -> None:
    """Bases, other classes, functions and constants are sent, in an order in which they are defined."""
    source = describe(Net(4))["source"]
    assert "SECRET" not in source
    assert "ACTIVATIONS" not in source
    assert source.startswith("from torch import nn\n")
    parts = ["SCALE = 0.5", "def scaled", "class Base", "class Block", "class Net"]
    assert sorted(parts, key=source.index) == parts


def test_a_class_inside_of_other_modules_is_sent() -> None:
    """Only the parts with a class of one's own are sent as source."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(2, 4), Block(4), Block(4, 0.5))
    spec = describe(module)
    assert [each["type"] for each in spec["layers"]] == ["Linear", "class", "class"]
    assert_same(module, spec, (5, 2))


def test_a_class_with_two_names_is_refused() -> None:
    """A module with parameters that is registered twice would become two."""
    block = Block(4)
    with pytest.raises(NotDescribable, match=r"Sequential\.1 is a module that has another name"):
        describe(nn.Sequential(block, block))


def test_values_that_a_constructor_does_not_give_are_named() -> None:
    """A warning names the parameters of a trained module, and not those of a new one."""
    module = Net(30)
    describe(module)
    nn.init.normal_(module.blocks[1].linear.weight)
    with pytest.warns(InitialValuesWarning, match=r"of `blocks\.b1\.linear\.weight`:"):
        describe(module)


class Other(nn.Module):
    """A class that uses what cannot be sent."""

    def __init__(self, kind: str = "relu") -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        """Look up a function."""
        return self.linear(x) * int(ACTIVATIONS[self.kind] is nn.ReLU)


class Numpy(nn.Module):
    """A class that uses NumPy."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.scale = np.ones(2, dtype="float32")

    def forward(self, x: Tensor) -> Any:
        """Multiply by an array."""
        return self.linear(x * self.scale)


class Patched(Block):
    """A class whose method will be replaced."""

    def forward(self, x: Tensor) -> Any:
        """Return what the file says."""
        return self.linear(x)


Patched.forward = Block.forward  # type: ignore[method-assign]


class Changed(Base):
    """A class whose attribute will be changed."""

    gain = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        """Scale."""
        return self.scale(self.linear(x))


Changed.gain = 5


def local() -> nn.Module:
    factor = 3.0

    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Any:
            return self.linear(x) * factor

    return Local()


def replaced() -> nn.Module:
    module = Hidden(2)
    module.layers[0] = nn.Linear(2, 8, bias=False)
    return module


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # of a tensor times an array
@pytest.mark.parametrize(
    "make", [Other, Numpy, lambda: Patched(2), Changed, local, replaced], ids=lambda make: make.__name__
)
def test_a_class_that_its_source_does_not_say_is_traced(make: Callable[[], nn.Module]) -> None:
    """The traced spec computes what the module computes, which the text in the file does not."""
    module = make()
    spec = describe(module)
    assert spec["type"] == "module"
    built = build(read_architecture(spec))
    built.load_state_dict(module.state_dict(), strict=True)
    x = torch.randn(5, 2)
    torch.testing.assert_close(built.eval()(x), module.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (lambda: Net(4), {"features": 5}, "its constructor gives another module with features=5"),
        (lambda: Net(4), {"width": 4}, "its constructor raises TypeError"),
        (lambda: Net(4), {"features": np.int64(4)}, "its argument `features` is a value of type int64"),
        (Numpy, {}, "it uses the module `numpy`"),
        (Other, {}, "it uses `ACTIVATIONS`"),
        (lambda: Patched(2), {"size": 2}, "the source of `Block.forward` is not what it does"),
        (Changed, {}, "`Changed.gain` has another value than in the source of the class"),
        (local, {}, "uses names of the function around it"),
        (lambda: nn.Sequential(nn.Tanh()), {}, "which isn't sent of Sequential"),
    ],
)
def test_given_arguments_that_do_not_make_the_module_are_refused(
    make: Callable[[], nn.Module], arguments: dict[str, Any], words: str
) -> None:
    """With arguments, `describe` sends the class or says why it can't."""
    with pytest.raises(NotDescribable) as error:
        describe(make(), arguments=arguments)
    assert words in str(error.value)


def test_a_file_that_has_changed_since_its_import_is_not_sent(tmp_path: Path) -> None:
    """The source is compared with the code that Python has loaded."""
    text = (
        "from torch import nn\n\n\nclass Saved(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.linear = nn.Linear(2, 2)\n\n"
        "    def forward(self, x):\n        return self.linear(x) + 1\n"
    )
    path = tmp_path / "saved_class.py"
    path.write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        module = import_module("saved_class").Saved()
        assert describe(module)["source"].endswith("return self.linear(x) + 1\n")
        path.write_text(text.replace("+ 1", "+ 2"))
        assert describe(module)["forward"].splitlines()[1].endswith("+ 1")
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["saved_class"]
