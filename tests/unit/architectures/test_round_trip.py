"""Round trips from a module to its spec and back, and from a spec to Python source and back."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from fitserve.describe import NotDescribable, describe
from service.architectures.build import build
from service.architectures.check.check import check
from service.architectures.export.python_source import to_source
from service.architectures.layers import LAYERS
from service.specs.architecture import ArchitectureSpec, read_architecture
from tests.support.architecture_samples import SAMPLES
from tests.support.parity import PAIRS, layer, linear, module, sequential

# Its forward unpacks `b, t, d = x.shape`, and `torch.ones(t, t)` gets no numbers while torch.fx traces it.
UNTRACEABLE = "attention by hand"


def complete(case: str) -> ArchitectureSpec:
    pair = PAIRS[case]
    return read_architecture(check(read_architecture(pair.spec), pair.inputs(), 10**6).spec)


def assert_same(built: nn.Module, expected: nn.Module, inputs: list[Tensor]) -> None:
    """Load the state of one module strictly into the other, and compare their outputs."""
    built.load_state_dict(expected.state_dict(), strict=True)
    torch.manual_seed(1)
    wanted = expected(*inputs)
    torch.manual_seed(1)
    torch.testing.assert_close(built(*inputs), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("source", [True, False])
@pytest.mark.parametrize("case", PAIRS)
def test_a_hand_written_class_is_described(case: str, source: bool) -> None:
    """The spec of a hand-written module, by source or traced, builds one that computes the same."""
    if case == UNTRACEABLE and not source:
        return
    pair = PAIRS[case]
    expected = pair.script()
    spec = read_architecture(describe(expected, source=source))
    assert check(spec, pair.inputs(), 10**6).spec["type"] == spec.type
    built = build(spec)
    assert repr(built) == repr(expected)
    assert_same(built, expected, pair.inputs())


@pytest.mark.parametrize("case", PAIRS)
def test_a_built_module_is_described_again(case: str) -> None:
    """The spec of a built module builds a module that prints and computes the same."""
    first = build(complete(case))
    again = build(read_architecture(describe(first)))
    assert repr(again) == repr(first)
    assert_same(again, first, PAIRS[case].inputs())


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_is_described_with_its_arguments(name: str) -> None:
    """The arguments of a layer are read from its attributes, and build an equal layer."""
    arguments = SAMPLES[name].arguments
    first = LAYERS[name](arguments=arguments)
    [described] = describe(first)["layers"]
    assert described.pop("type") == name
    again = LAYERS[name](arguments=described)
    assert repr(again) == repr(first)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in first.state_dict().items()
    }


def imported(source: str, folder: Path) -> nn.Module:
    """Import the source as a client does."""
    path = folder / "model_source.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("model_source", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    model: nn.Module = found.model
    return model


@pytest.mark.parametrize("case", PAIRS)
def test_the_source_builds_the_same_model(case: str, tmp_path: Path) -> None:
    """The imported source has the same initial values, loads the safetensors and computes the same."""
    spec = complete(case)
    torch.manual_seed(3)
    expected = build(spec)
    state = load(save({name: value.clone() for name, value in expected.state_dict().items()}))
    torch.manual_seed(3)
    model = imported(to_source(spec), tmp_path)
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    model.load_state_dict(state, strict=True)
    assert_same(model, expected, PAIRS[case].inputs())


@pytest.mark.parametrize("name", ['"); import os #', "'''", "a\nb", "\\", "{0}", "ü 😀"])
def test_names_in_the_source_are_quoted(name: str, tmp_path: Path) -> None:
    """The name of a layer is a valid string literal in the source, whatever its characters."""
    spec = read_architecture(sequential(linear(2, in_features=3, name=name)))
    assert list(imported(to_source(spec), tmp_path).state_dict()) == [f"{name}.weight", f"{name}.bias"]


@pytest.mark.parametrize("name", ["nn", "super"])
def test_different_classes_of_one_name_get_numbers(name: str, tmp_path: Path) -> None:
    """Equal classes are written once, others get a number, and names of the source are reserved."""
    first, second = (
        module(name, f"return self.a(x) {sign} x", {"a": linear(3, in_features=3)}) for sign in "+-"
    )
    spec = read_architecture(sequential(first, second, first))
    source = to_source(spec)
    assert source.count(f"class {name}2(") == source.count(f"class {name}3(") == 1
    assert_same(imported(source, tmp_path), build(spec), [torch.randn(2, 3)])


class Listed(nn.Module):
    """A module with a ModuleList and a ModuleDict."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.heads = nn.ModuleDict({"one": nn.Linear(3, 1)})

    def forward(self, x: Tensor) -> Any:
        """Call the blocks in a loop, which tracing unrolls."""
        for block in self.blocks:
            x = F.max_pool1d(F.softmax(F.relu(block(x), inplace=True), dim=-1), 1)
        return self.heads["one"](x)[..., :1].clamp(min=float("-inf"))


def test_lists_of_modules_become_sequentials() -> None:
    """The built module has the same parameter names and computes the unrolled loop."""
    expected = Listed()
    built = build(read_architecture(describe(expected, source=False)))
    assert list(built.state_dict()) == list(expected.state_dict())
    assert_same(built, expected, [torch.randn(2, 3)])


class Keyed(nn.Module):
    """A ModuleDict whose keys are not positions or not identifiers."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        keys = ("1", "0", "my head", "a-b", "class", "2²")
        self.heads = nn.ModuleDict({each: nn.Linear(3, 3) for each in keys})

    def forward(self, x: Tensor) -> Any:
        """Call a submodule by its key, and read the weight of the same submodule."""
        head = self.heads[self.key]
        return F.linear(head(x), head.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["1", "0", "my head", "a-b", "class", "2²"])
def test_a_key_of_a_module_dict_becomes_its_position(key: str) -> None:
    """The forward text calls the submodule with this key, also if the key is the position of another."""
    expected = Keyed(key)
    built = build(read_architecture(describe(expected, source=False)))
    assert list(built.state_dict()) == list(expected.state_dict())
    assert_same(built, expected, [torch.randn(2, 3)])


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Any:
        """Call both layers."""
        return self.b(self.a(x))


class Branching(nn.Module):
    """A module with a condition on values."""

    def forward(self, x: Tensor) -> Any:
        """Return the input or its negative."""
        return x if x.sum() > 0 else -x


class Foreign(nn.Module):
    """A module with a function that is not in the table."""

    def forward(self, x: Tensor) -> Any:
        """Return a factorization of the input."""
        return torch.linalg.lu_factor(x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Tied(), "shared by several layers"),
        (Branching(), "Branching: its forward cannot be traced"),
        (PAIRS[UNTRACEABLE].script(), "Attention: its forward cannot be traced"),
        (Foreign(), "the grammar has no function `linalg_lu_factor`"),
        (nn.Sequential(nn.LazyLinear(3)), "LazyLinear"),
        (nn.Sequential(nn.Hardtanh(0.0, float("inf"))), "max_val is inf"),
    ],
)
def test_what_a_spec_cannot_express_is_refused(model: nn.Module, words: str) -> None:
    """The error names what a spec cannot express and its location in the module."""
    with pytest.raises(NotDescribable, match=words.replace("(", r"\(")):
        describe(model, source=False)


def test_a_single_layer_is_a_sequential_of_one() -> None:
    """A single layer is described as a sequential with this layer."""
    assert describe(nn.Linear(1, 2)) == sequential(layer("Linear", in_features=1, out_features=2))


DRAWING = """
SCALE = torch.randn(2)
example = torch.randn(5, 3)

class Net(nn.Module):
    shift = torch.rand(2)

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)
        self.factor = torch.rand(1).item()
        self.register_buffer("noise", torch.rand(2), persistent=False)

    def forward(self, x, weight=torch.rand(2)):
        return self.out(x) * SCALE + self.shift * self.factor + self.noise * weight
"""


def test_the_source_draws_the_values_outside_of_the_state(tmp_path: Path) -> None:
    """With the seed of the training, a class has its plain tensors; a script around it is left out."""
    spec = read_architecture({"type": "class", "source": DRAWING, "inputs": ["x"]})
    torch.manual_seed(7)
    expected = build(spec)
    before = torch.get_rng_state()
    model = imported(to_source(spec, seed=7), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert "example" not in to_source(spec)
    assert_same(model, expected, [torch.randn(4, 3)])
