"""What a forward text computes: Python's values, with the aliases of PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.architectures.build import build
from service.architectures.check.check import check
from service.architectures.export.python_source import to_source
from service.errors import InvalidRequest
from service.specs.architecture import ArchitectureSpec, read_architecture
from tests.support.parity import layer, linear, module, sequential

MEMBERS: dict[str, Any] = {
    "submodules": {
        "a": linear(3, in_features=3),
        "b": sequential(linear(3, in_features=3), layer("Dropout", p=0.5)),
        "blocks.0": linear(3, in_features=3),
        "blocks.1": linear(3, in_features=3),
        "heads.one": linear(2, in_features=3),
        "heads.two": linear(2, in_features=3),
    },
    "parameters": {"scale": {"shape": [3], "init": {"type": "constant_", "val": 2.0}}},
    "buffers": {"mask": "torch.tensor([1.0, 0.0, 1.0])"},
    "constants": {"sizes": [1, 2], "deep": True},
}


class Members(nn.Module):
    """The members by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.deep = [1, 2], True
        self.scale = nn.Parameter(torch.full((3,), 2.0))
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0]))
        self.a = nn.Linear(3, 3)
        self.b = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.heads = nn.ModuleDict({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2)})


# Bodies of `forward(self, x)`; those below `# once` would change the model in a second pass.
TEXTS = {
    "loop over a list": "for block in self.blocks:\n    x = torch.relu(block(x))\nreturn self.a(x)",
    "loop over positions": "for i in range(len(self.blocks)):\n    x = self.blocks[i](x)\nreturn x",
    "loop over a dict": "return torch.cat([head(x) for name, head in self.heads.items()], dim=1)",
    "slice of a list": "for block in self.blocks[:1]:\n    x = block(x)\nreturn x",
    "branch on a constant": "if self.deep and len(self.sizes) > 1:\n    x = self.a(x)\nreturn self.b(x)",
    "branch on the mode": "h = self.a(x)\nif not self.training:\n    h = h * 2\nreturn h",
    "branch on a shape": "return self.a(x) if 2 <= x.shape[1] < 4 else self.b(x)",
    "nested function": "def forward(self, x):\n    def twice(f, h):\n        return f(f(h))\n"
    "    return twice(self.a, x)",
    "function before the body": "def twice(f, h):\n    return f(f(h))\nreturn twice(self.a, x)",
    "lambda": "act = lambda h: torch.tanh(h) * self.scale\nreturn act(self.a(x))",
    "dictionary": "h = {'a': self.a(x), 'b': x}\nreturn h['a'] + h['b']",
    "early return": "if self.deep:\n    return self.a(x)\nreturn self.b(x)",
    "sizes of a layer": "return self.a(x) / self.a.in_features",
    "layer as a value": "f = self.a\nreturn f(x) + f.weight.sum()",
    "type of a layer": "return sum(block(x) for block in self.blocks if isinstance(block, nn.Linear))",
    "parameter of an uncalled layer": "h = self.a(x)\nreturn F.linear(h, self.a.weight, self.a.bias)",
    "names of NumPy": "return self.a(x).sum(axis=1, keepdims=True)",
    "assignment to an element": "h = self.a(x)\nh[:, 0] = 0\nreturn h",
    "method in place": "h = self.a(x)\nr = h\nh.mul_(2)\nreturn r",
    "update of an alias": "h = x * 2\nr = h\nh += 1\nreturn self.a(h + r)",
    "update of a view": "h = x * 2\nr = h.view(-1)\nh -= 1\nreturn self.a(h) + r[0]",
    "update of an element of a tuple": "h = x * 2\nr = (h, 1)\nh *= 2\nreturn self.a(h) + r[0].sum()",
    "update in a helper": "h = x * 2\ndef add(y):\n    y += 1\nadd(h)\nreturn self.a(h)",
    "update that nothing else sees": "h = self.a(x)\nh += self.b(x)\nreturn torch.relu(h)",
    "no gradient": "with torch.no_grad():\n    h = self.a(x)\nreturn self.b(x) + h",
    "update of a buffer": "h = self.mask\nh += 1\nreturn self.a(x * self.mask)",
}


def built(forward: str) -> tuple[ArchitectureSpec, nn.Module, nn.Module]:
    """Return the checked spec of a text, its module, and the class by hand with the same values."""
    found = check(read_architecture(module("Net", forward, **MEMBERS, inputs=["x"])), [torch.ones(4, 3)], 999)
    spec = read_architecture(found.spec)
    torch.manual_seed(0)
    net = build(spec)
    lines = (
        forward.split("\n")
        if forward.startswith("def forward")
        else [
            "def forward(self, x):",
            *(f"    {line}" for line in forward.split("\n")),
        ]
    )
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
    exec("\n".join(lines), names)  # the text is ours
    torch.manual_seed(0)
    by_hand = type("Net", (Members,), {"forward": names["forward"]})()
    return spec, net, by_hand


def outputs(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the outputs of two passes in training and one in evaluation, and the gradients."""
    torch.manual_seed(1)
    first = net.train()(x.clone())
    if first.requires_grad:
        first.sum().backward()
    return [
        first,
        net(x.clone()),
        net.eval()(x.clone()),
        *(p.grad for p in net.parameters() if p.grad is not None),
    ]


@pytest.mark.parametrize("forward", TEXTS.values(), ids=TEXTS)
def test_a_text_computes_what_python_computes(forward: str) -> None:
    """Outputs in training and evaluation, gradients and state are those of the method in Python."""
    _, net, by_hand = built(forward)
    x = torch.randn(4, 3)
    found, expected = outputs(net, x), outputs(by_hand, x)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(net.state_dict(), by_hand.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("forward", TEXTS.values(), ids=TEXTS)
def test_the_exported_class_computes_the_same(forward: str) -> None:
    """The source runs in plain PyTorch, loads the state strictly and computes the same."""
    spec, net, _ = built(forward)
    names: dict[str, Any] = {}
    exec(to_source(spec), names)
    exported = names["model"]
    exported.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(4, 3)
    for one, other in zip(outputs(net, x), outputs(exported, x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    "lines",
    [
        "h = torch.tanh(self.a(x))\nh += self.b(x)",
        "h = self.a(x)\nx += h\nh = h * x",
        "x += 1\nh = self.a(x)",
    ],
)
def test_an_update_leaves_alone_what_nothing_else_has(lines: str) -> None:
    """The backward pass works where PyTorch's update would overwrite a saved tensor, and the data stays."""
    spec = check(
        read_architecture(
            module("Net", f"{lines}\nreturn h", {"a": linear(3), "b": linear(3, in_features=3)})
        ),
        [torch.ones(4, 3)],
        999,
    ).spec
    inputs = torch.ones(4, 3)
    build(read_architecture(spec))(inputs).sum().backward()
    names: dict[str, Any] = {}
    exec(to_source(read_architecture(spec)), names)
    names["model"](inputs)
    assert inputs.eq(1).all()


INNER = module("Inner", "x += 1\nreturn self.fc(x)", {"fc": linear(3)})


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("h = x * 2\ny = self.inner(h)\nreturn h", "h changes"),
        ("y = self.inner(x)\nreturn x", "the input changes, and the data stays"),
    ],
)
def test_a_nested_update_changes_the_tensor_of_the_outer_text(forward: str, expected: str) -> None:
    """A nested module updates the tensor that it receives, as in PyTorch, and never the data."""
    spec = module("Net", f"{forward} + self.out(x) * 0", {"inner": INNER, "out": linear(3)}, inputs=["x"])
    net = build(read_architecture(check(read_architecture(spec), [torch.ones(4, 3)], 999).spec))
    inputs = torch.ones(4, 3)
    found = net(inputs)
    assert found.eq(3 if "x * 2" in forward else 2).all(), expected
    assert inputs.eq(1).all()


def test_constants_cannot_change() -> None:
    """A list of the constants would be another one in the next pass."""
    spec = module("Net", "self.sizes.append(1)\nreturn self.a(x)", {"a": linear(3)}, constants={"sizes": [1]})
    with pytest.raises(InvalidRequest) as caught:
        check(read_architecture(spec), [torch.ones(4, 3)], 999)
    assert "belongs to the model" in caught.value.errors[0].detail


def test_layers_that_only_evaluation_calls_get_their_sizes() -> None:
    """A branch on `self.training` may call other layers in each mode."""
    text = "return self.a(x) if self.training else self.b(x)"
    found = check(
        read_architecture(module("Net", text, {"a": linear(2), "b": linear(2)})), [torch.ones(4, 3)], 99
    )
    assert found.spec["submodules"]["b"]["in_features"] == 3
