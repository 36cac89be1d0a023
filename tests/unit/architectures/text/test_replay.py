"""Replays of forward passes do what an evaluation of the text does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.architectures.text.errors import ForwardError
from service.architectures.text.evaluation import MAX_STEPS, Run
from service.architectures.text.values import text_class
from service.specs.architecture import read_architecture


def model_of(text: str) -> nn.Module:
    """Construct the last class of a text."""
    torch.manual_seed(0)
    return build(read_architecture({"type": "class", "source": text}))


def run_of(model: nn.Module) -> Run:
    """Return the evaluation of a model's text."""
    own = text_class(type(model))
    assert own is not None
    return own.run


def is_replayed(model: nn.Module, *inputs: Tensor) -> bool:
    """Call a model, and return whether the pass took no steps of an evaluation."""
    run = run_of(model)
    run.steps = MAX_STEPS
    model(*inputs)
    return run.steps == MAX_STEPS


def replayed(text: str, *inputs: Tensor) -> nn.Module:
    """Construct a model whose passes over such inputs are replayed."""
    model = model_of(text)
    for _ in range(2):
        assert not is_replayed(model, *inputs)
    assert is_replayed(model, *inputs)
    return model


def net(forward: str, constructor: str = "pass") -> str:
    """Return the text of a class with an embedding, a layer and a buffer."""
    return f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.layer = nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))
        {constructor}

    def forward(self, x):
        {forward}
"""


X = torch.arange(12.0).reshape(4, 3) / 10


def evaluated(text: str, passes: Callable[[nn.Module], Any]) -> Any:
    """Return the result of passes over a model that is never replayed, as it has a hook."""
    model = model_of(text)
    model.register_forward_hook(lambda *_: None)
    run_of(model).replays.hooks = -1
    return passes(model)


FORWARDS = {
    "layers": "return self.dropout(torch.relu(self.layer(x))) + self.layer.weight[0]",
    "an in-place operation": "y = self.layer(x)\n        y[:, 0] += 1\n        y.mul_(2)\n        return y",
    "a buffer that is set": "self.seen = self.seen + x.mean()\n        return self.layer(x) * self.seen",
    "a buffer that is updated": "self.seen += 1\n        return self.layer(x) + self.seen",
    "an attribute": "self.last = self.layer(x)\n        return self.last * 2",
    "no gradient": "with torch.no_grad():\n            y = self.layer(x)\n        return y + self.layer(x)",
    "random numbers": "return self.layer(x) + torch.randn(3) * torch.rand_like(x)",
    "parts": "a, b = self.layer(x).split([1, 2], 1)\n        return torch.cat([b, a], dim=1)",
    "named parts": "found = self.layer(x).max(dim=1)\n        return found.values + found.indices",
    "iteration": "return torch.stack([row * n for n, row in enumerate(self.layer(x))])",
    "a list": "ys = [x]\n        ys.append(self.layer(x))\n        return torch.stack(ys).sum(0)",
    "properties": "return self.layer(x).T.reshape(x.shape) * x.size(1)",
    "modes": "return self.layer(x) if self.training else -x + self.layer(x)",
    "several outputs": "return {'a': self.layer(x), 'b': (x * 2, [x.sum()], None)}",
}


@pytest.mark.parametrize("name", FORWARDS)
def test_a_replay_has_the_bits_of_an_evaluation(name: str) -> None:
    """Outputs, gradients, buffers and random numbers of four passes are those of evaluations."""

    def passes(model: nn.Module) -> list[Any]:
        found: list[Any] = []
        torch.manual_seed(1)
        for number in range(8):
            model.train(number < 5)
            model.zero_grad()
            result = model(X * number)
            main = result["a"] if isinstance(result, dict) else result
            main.sum().backward()
            gradients = [each.grad for each in model.parameters()]
            found += [result, gradients, model.seen.clone() if isinstance(model.seen, Tensor) else None]
        return found

    replayed(net(FORWARDS[name]), X)
    assert repr(passes(model_of(net(FORWARDS[name])))) == repr(evaluated(net(FORWARDS[name]), passes))


def test_an_error_of_a_replay_has_its_location() -> None:
    """The message is that of an evaluation: line, column, and the shapes of the operands."""
    text = net("return self.layer(nn.functional.relu(self.table(x)))")
    valid, invalid = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 7])
    messages = []
    for model in (model_of(text), replayed(text, valid)):
        with pytest.raises(ForwardError) as raised:
            model(invalid)
        messages.append(str(raised.value))
        assert torch.isfinite(model(valid)).all()
    assert messages[0] == messages[1]
    assert "self.table(x)" in messages[1]
    assert "[4]" in messages[1]


def test_an_error_in_a_nested_text_has_its_location() -> None:
    """A module of the architecture is replayed with the module around it, and so are classes in it."""
    inner = {"type": "class", "source": net("return self.layer(torch.relu(self.table(x)))")}
    outer = {
        **{"type": "module", "class_name": "Outer", "submodules": {"inner": inner}, "parameters": {}},
        **{"inputs": ["x"], "forward": "y = self.inner(x)\nreturn y * 2"},
    }
    model = build(read_architecture(outer))
    valid, invalid = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 7])
    messages = []
    for _ in range(4):
        with pytest.raises(ForwardError) as raised:
            model(invalid)
        messages.append(str(raised.value))
        model(valid)
    assert len(set(messages)) == 1
    assert "self.table(x)" in messages[0]


def test_other_passes_are_not_replayed() -> None:
    """Another shape, dtype or mode, and a model with hooks, are evaluated."""
    model = replayed(net("return self.layer(x)"), X)
    assert not is_replayed(model, X[:2])
    assert not is_replayed(model.eval(), X)
    assert is_replayed(model.train(), X)
    with torch.no_grad():
        assert not is_replayed(model, X)
    assert not is_replayed(model, X.t().contiguous().t())
    handle = model.get_submodule("layer").register_forward_hook(lambda *_: torch.zeros(4, 3))
    assert not is_replayed(model, X)
    assert not model(X).any()
    handle.remove()
    assert is_replayed(model, X)


@pytest.mark.parametrize("forward", ["return self.layer(x) - y", "return x if x is y else y * 2"])
def test_inputs_that_are_one_tensor_are_another_pass(forward: str) -> None:
    """A pass whose inputs are the same tensor is no record of one whose inputs differ, and vice versa."""
    text = net(forward).replace("forward(self, x)", "forward(self, x, y)")
    model, other = model_of(text), X * 2 + 1
    for inputs in [(X, X)] * 3 + [(X, other)] * 3 + [(X, X)]:
        wanted = evaluated(text, lambda model, inputs=inputs: model(*inputs))
        torch.testing.assert_close(model(*inputs), wanted, rtol=0, atol=0)


def test_a_replay_takes_the_current_parameters() -> None:
    """Parameters may be loaded, replaced or converted between two passes."""
    model = replayed(net("return self.layer(x) + self.kept", "self.kept = torch.ones(3)"), X)
    layer = model.get_submodule("layer")
    state = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    assert torch.equal(torch.func.functional_call(model, zeros, (X,)), torch.ones(4, 3))
    model.load_state_dict(state)
    assert torch.equal(model(X)[:, 0], X.sum(1) + 2)
    assert isinstance(layer, nn.Linear)
    layer.bias = nn.Parameter(torch.full((3,), 5.0))
    assert torch.equal(model(X)[:, 0], X.sum(1) + 6)
    assert model.double()(X.double()).dtype == torch.float64
    assert model.float()(X).dtype == torch.float32


def test_a_text_around_layers_of_its_own_is_replayed() -> None:
    """Containers and layers with parametrizations are taken apart; transformer layers are one call."""
    text = """
class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.attend = nn.MultiheadAttention(size, 2, batch_first=True)

    def forward(self, x):
        x = self.norm(x)
        return self.attend(x, x, x, need_weights=False)[0]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.blocks = nn.Sequential(Block(4), layer, Block(4))
        self.rnn = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.rnn(self.blocks(x))[1][0]
"""
    x = torch.randn(2, 5, 4)
    model = replayed(text, x)
    torch.testing.assert_close(model(x), evaluated(text, lambda model: model(x)), rtol=0, atol=0)
    model.eval()
    with torch.no_grad():
        outputs = [model(x) for _ in range(3)]
        assert is_replayed(model, x)
        assert torch.equal(outputs[0], outputs[2])


def test_modes_of_layers_that_a_pass_sets_are_not_replayed() -> None:
    """A layer that is one call of a replay has the mode that the pass set."""
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def forward(self, x):
        self.attend.eval()
        return self.attend(x, x, x)[0]
"""
    x = torch.randn(2, 3, 4)
    model = model_of(text)
    outputs = [model(x) for _ in range(4)]
    assert torch.equal(outputs[0], outputs[3])
    assert model.get_submodule("attend").training


def test_tapes_are_bounded() -> None:
    """A model keeps tapes of the last signatures only."""
    model = model_of(net("return self.layer(x)"))
    for size in range(1, 50):
        model(torch.zeros(size, 3))
    assert len(run_of(model).replays.tapes) == 32
