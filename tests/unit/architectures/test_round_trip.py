"""Round trips: a module to its spec and back, a spec to Python source and back."""

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


def complete(case: str) -> ArchitectureSpec:
    pair = PAIRS[case]
    return read_architecture(check(read_architecture(pair.spec), pair.inputs(), 10**6).spec)


def assert_same(built: nn.Module, expected: nn.Module, inputs: list[Tensor]) -> None:
    """After loading the same state strictly, both compute the same."""
    built.load_state_dict(expected.state_dict(), strict=True)
    torch.manual_seed(1)
    wanted = expected(*inputs)
    torch.manual_seed(1)
    torch.testing.assert_close(built(*inputs), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("case", PAIRS)
def test_a_hand_written_class_is_described(case: str) -> None:
    """The spec of a script's module builds one that prints the same and computes the same."""
    pair = PAIRS[case]
    if case == "attention by hand":
        pytest.skip("b, t, d = x.shape iterates, which torch.fx can't trace")
    expected = pair.script()
    spec = read_architecture(describe(expected))
    assert check(spec, pair.inputs(), 10**6).spec["type"] == spec.type
    built = build(spec)
    assert repr(built) == repr(expected)
    assert_same(built, expected, pair.inputs())


@pytest.mark.parametrize("case", PAIRS)
def test_a_built_module_is_described_again(case: str) -> None:
    """From the spec to the module to the spec: the same module."""
    first = build(complete(case))
    again = build(read_architecture(describe(first)))
    assert repr(again) == repr(first)
    assert_same(again, first, PAIRS[case].inputs())


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_is_described_with_its_arguments(name: str) -> None:
    """Read from its attributes; defaults are left out."""
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
    """What a client does with the source."""
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
def test_the_source_is_the_class_one_would_write(case: str, tmp_path: Path) -> None:
    """Imported, it starts with the same values, loads the safetensors strictly and computes the same."""
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
    """A layer may be called anything; in the source it is a string."""
    spec = read_architecture(sequential(linear(2, in_features=3, name=name)))
    assert list(imported(to_source(spec), tmp_path).state_dict()) == [f"{name}.weight", f"{name}.bias"]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Equal ones are written once, others get a number; the source's own names are taken."""
    first, second = (
        module("nn", f"return self.a(x) {sign} x", {"a": linear(3, in_features=3)}) for sign in "+-"
    )
    spec = read_architecture(sequential(first, second, first))
    source = to_source(spec)
    assert source.count("class nn2(") == source.count("class nn3(") == 1
    assert_same(imported(source, tmp_path), build(spec), [torch.randn(2, 3)])


class Listed(nn.Module):
    """Blocks in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.heads = nn.ModuleDict({"one": nn.Linear(3, 1)})

    def forward(self, x: Tensor) -> Any:
        """A loop that tracing unrolls."""
        for block in self.blocks:
            x = F.max_pool1d(F.softmax(F.relu(block(x), inplace=True), dim=-1), 1)
        return self.heads["one"](x)[..., :1].clamp(min=float("-inf"))


def test_lists_of_modules_become_sequentials() -> None:
    """The names of the parameters stay, and loops are unrolled."""
    expected = Listed()
    built = build(read_architecture(describe(expected)))
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
    built = build(read_architecture(describe(expected)))
    assert list(built.state_dict()) == list(expected.state_dict())
    assert_same(built, expected, [torch.randn(2, 3)])


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Any:
        """One after the other."""
        return self.b(self.a(x))


class Branching(nn.Module):
    """A condition on values."""

    def forward(self, x: Tensor) -> Any:
        """Or not."""
        return x if x.sum() > 0 else -x


class Foreign(nn.Module):
    """A function beyond the table."""

    def forward(self, x: Tensor) -> Any:
        """An inverse."""
        return torch.linalg.inv(x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Tied(), "shared by several layers"),
        (Branching(), "Branching: its forward depends on values"),
        (Foreign(), "the grammar has no function `linalg_inv`"),
        (nn.Sequential(nn.LazyLinear(3)), "LazyLinear"),
        (nn.Sequential(nn.Hardtanh(0.0, float("inf"))), "max_val is inf"),
    ],
)
def test_what_a_spec_cannot_say_is_told(model: nn.Module, words: str) -> None:
    """With the place in the module."""
    with pytest.raises(NotDescribable, match=words.replace("(", r"\(")):
        describe(model)


def test_a_single_layer_is_a_sequential_of_one() -> None:
    """An architecture is a container."""
    assert describe(nn.Linear(1, 2)) == sequential(layer("Linear", in_features=1, out_features=2))
