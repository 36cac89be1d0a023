"""The check of an architecture that is the text of a class."""

from typing import Any

import pytest
import torch
from torch import Tensor

from service.architectures.check.check import CheckedArchitecture, check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture

SOURCE = """
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return F.relu(self.fc(x)) + x


class Net(nn.Module):
    def __init__(self, width=3, depth=2):
        super().__init__()
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, 1)

    def forward(self, x, scale=None):
        for block in self.blocks:
            x = block(x)
        return self.head(x) if scale is None else self.head(x) * scale
"""


def check_class(
    source: str = SOURCE, batch: list[Tensor] | None = None, **fields: Any
) -> CheckedArchitecture:
    """Check a class for a batch of 4 samples."""
    spec = read_architecture({"type": "class", "source": source, **fields})
    return check(spec, [torch.zeros(4, 3)] if batch is None else batch, 10**6)


def errors_of(source: str = SOURCE, **fields: Any) -> list[tuple[str, str]]:
    """Return pointers and messages of the errors of a class."""
    with pytest.raises(InvalidRequest) as refusal:
        check_class(source, **fields)
    return [(error.pointer.removeprefix("#/architecture/"), error.detail) for error in refusal.value.errors]


def test_the_layers_of_a_class_are_reported_like_those_of_a_spec() -> None:
    """Each call of a layer has its path, shapes and parameters."""
    checked = check_class()
    assert [(row["path"], row["input_shape"], row["output_shape"]) for row in checked.layers] == [
        ("blocks.0.fc", ["B", 3], ["B", 3]),
        ("blocks.1.fc", ["B", 3], ["B", 3]),
        ("head", ["B", 3], ["B", 1]),
    ]
    assert checked.parameter_count == 2 * 12 + 4
    assert checked.warnings == []


def test_the_complete_spec_names_the_class_and_its_inputs() -> None:
    """The last module class of the text is the model, and inputs without a default are its inputs."""
    spec = check_class(arguments={"depth": 1}).spec
    assert {name: value for name, value in spec.items() if name != "source"} == {
        "type": "class",
        "class_name": "Net",
        "arguments": {"depth": 1},
        "inputs": ["x"],
    }


def test_an_input_with_a_default_can_be_given() -> None:
    """`inputs` may name parameters of `forward` that have a default value."""
    spec = read_architecture({"type": "class", "source": SOURCE, "inputs": ["scale", "x"]})
    checked = check(spec, [torch.zeros(4, 1), torch.zeros(4, 3)], 10**6)
    assert checked.spec["inputs"] == ["scale", "x"]


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        (("self.head(x)", "self.haed(x)"), "source", "`.haed`: did you mean `head`?"),
        (("F.relu", "F.rellu"), "source", "`F.rellu`: did you mean `F.relu`?"),
        (("range(depth)", "rnage(depth)"), "source", "`rnage`: this name is not defined in the text."),
        (
            ("nn.Linear(width, 1)", "nn.Linear(width)"),
            "source",
            "missing a required argument: 'out_features'",
        ),
        (("nn.Linear(width, 1)", "nn.Linear(width + 1, 1)"), "source", "set in_features to 3."),
        (("block(x)", "block(x, x)"), "source", "takes 2 arguments by position, not 3"),
        (("x = block(x)", "x = block(x).numpy()"), "source", "A tensor has no attribute `numpy`"),
        (
            ("def forward", "def backward"),
            "source",
            "The class `Net` has no `forward` with inputs; define it.",
        ),
    ],
)
def test_an_error_has_its_place_and_a_remedy(change: tuple[str, str], pointer: str, message: str) -> None:
    """An error in the text is reported with what to write instead."""
    head, _, tail = SOURCE.rpartition("class Net")
    source = (
        SOURCE.replace(*change) if change[0] != "def forward" else f"{head}class Net{tail.replace(*change)}"
    )
    (found,) = errors_of(source)
    assert found[0] == pointer
    assert message in found[1]


def test_all_static_errors_are_reported_at_once() -> None:
    """Unknown names of several statements, and of the arguments, are one report."""
    source = SOURCE.replace("F.relu", "F.rellu").replace("nn.ModuleList", "nn.ModulList")
    assert [message for _, message in errors_of(source)] == [
        "Line 8, column 16: `F.rellu`: did you mean `F.relu`?",
        "Line 14, column 23: `nn.ModulList`: did you mean `nn.ModuleList`?",
    ]
    assert errors_of(arguments={"widht": 4, "depth": 1}) == [
        ("arguments/widht", "`widht`: did you mean `width`?")
    ]
    assert errors_of(SOURCE.replace("width=3", "width")) == [
        ("arguments", "`__init__` needs `width`, which has no default value; add it.")
    ]
    assert errors_of(inputs=["y"]) == [
        ("inputs/0", "`y` is not a parameter of `forward`, which has x, scale."),
        ("inputs", "`forward` needs `x`, which has no default value; add it."),
    ]
    assert errors_of(class_name="Ent") == [("class_name", "`Ent`: did you mean `Net`?")]


def test_what_is_not_used_is_harmless() -> None:
    """Imports, other classes, a script and annotations do not block a class that does not need them."""
    source = f"""
from __future__ import annotations
import os, sys
import pytorch_lightning as pl
from torch.utils.data import Dataset, DataLoader
import torch.nn as nn
import torch.nn.functional as F

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Rows(Dataset):
    def __getitem__(self, index):
        return open(index).read()

{SOURCE}

model = Net().to(device)
optimizer = torch.optim.Adam(model.parameters())

if __name__ == "__main__":
    train(model, DataLoader(Rows()))
"""
    assert check_class(source).parameter_count == 28


def test_parameters_without_an_influence_are_warned_of() -> None:
    """A layer that is never called is named; one whose weight is read directly is not."""
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return F.linear(x, self.used.weight, self.used.bias)
"""
    (warning,) = check_class(source).warnings
    assert warning.detail == (
        "`unused.weight`, `unused.bias` are parameters that no output depends on, so they will not be "
        "trained."
    )


def test_a_class_is_checked_in_evaluation_mode_too() -> None:
    """A branch that only predictions take is checked before the job is accepted."""
    source = SOURCE.replace(
        "return self.head(x) if", "x = x if self.training else x[:, :2]\n        return self.head(x) if"
    )
    ((pointer, message),) = errors_of(source)
    assert pointer == "source"
    assert message.startswith("In evaluation mode: Line ")


def test_a_fixed_batch_size_is_warned_of() -> None:
    """A class that takes batches of one size only cannot predict other numbers of rows."""
    (warning,) = check_class(SOURCE.replace("x = block(x)", "x = block(x.view(4, 3))")).warnings
    assert "needs batches of 4 samples, and so do predictions" in warning.detail


def test_a_small_tensor_of_the_constructor_has_values() -> None:
    """Rates computed by `torch.linspace` and masks are known while the class is constructed."""
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
        self.layers = nn.Sequential(*[nn.Dropout(rate) for rate in rates], nn.Linear(3, 1))
        self.register_buffer("mask", torch.tril(torch.ones(3, 3)))
        assert bool(self.mask[0, 0] == 1)

    def forward(self, x):
        return self.layers(x @ self.mask)
"""
    checked = check_class(source)
    assert "(1): Dropout(p=0.25, inplace=False)" in str(checked.module)
    assert all(tensor.is_meta for tensor in checked.module.state_dict().values())


@pytest.mark.parametrize("width", [3, 4])
def test_a_class_can_be_a_layer_of_another_architecture(width: int) -> None:
    """A class stands in a sequential like a layer; its errors point to its text."""
    node = {"type": "class", "source": SOURCE, "arguments": {"width": 3}}
    spec = read_architecture(
        {"type": "sequential", "layers": [{"type": "Linear", "out_features": width}, node]}
    )
    if width == 3:
        assert check(spec, [torch.zeros(4, 5)], 10**6).parameter_count == 18 + 28
        return
    with pytest.raises(InvalidRequest) as refusal:
        check(spec, [torch.zeros(4, 5)], 10**6)
    assert refusal.value.errors[0].pointer == "#/architecture/layers/1/source"


def test_names_of_the_api_are_ascii() -> None:
    """The class and its inputs need names that the API can show; other names are free."""
    source = SOURCE.replace("class Net", "class Netü").replace("self.head", "self.größe")
    assert errors_of(
        source.replace("forward(self, x, scale", "forward(self, höhe, scale").replace(
            "x = ", "x = höhe; x = "
        )
    )[0] == (
        "source",
        "`Netü` is the name of the class or of an input, which is at most 128 ASCII letters, digits and "
        "underscores; rename it.",
    )
    assert check_class(source.replace("Netü", "Net")).parameter_count == 28


def test_complex_outputs_are_refused() -> None:
    """An output has real numbers."""
    source = SOURCE.replace("return self.head(x) if", "return self.head(x).to(torch.complex64) if")
    assert [message for _, message in errors_of(source)] == [
        "Output `output` has complex numbers; return its `.real`, `.imag` or `.abs()`."
    ]


@pytest.mark.parametrize(
    "line",
    [
        "self.calls = getattr(self, 'calls', 0) + 1",
        "if not hasattr(self, 'calls'):\n            self.calls = x",
    ],
)
def test_a_state_that_is_asked_for_is_a_state(line: str) -> None:
    """A forward pass that looks for an attribute before it sets it would depend on the pass before."""
    ((_, message),) = errors_of(
        SOURCE.replace("for block in self.blocks:", f"{line}\n        for block in self.blocks:")
    )
    assert "would carry a state from one forward pass to the next" in message


def test_a_text_may_begin_with_a_byte_order_mark() -> None:
    """Some editors write one."""
    assert check_class("\ufeff" + SOURCE).parameter_count == 28


def test_an_input_is_named_once() -> None:
    """An input that appears twice is reported at its position."""
    assert errors_of(inputs=["x", "x"]) == [("inputs/1", "`x` appears twice; give it once.")]


@pytest.mark.parametrize(
    ("returned", "detail"),
    [
        ("self.fc(x).squeeze()", "output `output` is [] instead of [1]."),
        ("self.fc(x.squeeze())", "output `output` is [1] instead of [1, …]."),
        ("{'a': self.fc(x), 'b': self.fc(x).squeeze()}", "output `b` is [] instead of [1]."),
        ("self.fc(x).squeeze()[:, None]", "The forward pass fails for a batch of one sample: "),
    ],
)
def test_a_batch_of_one_sample_keeps_its_dimension(returned: str, detail: str) -> None:
    """`squeeze()` loses the batch of a single row, as a prediction or the last batch of an epoch may have."""
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x):
        return {returned}
"""
    ((pointer, message),) = errors_of(source)
    assert pointer == "source"
    assert detail in message
    assert "as in `squeeze(-1)`" in message
    assert check_class(source.replace("squeeze()", "squeeze(-1)").replace("(x.squeeze(-1))", "(x)")).outputs


def test_a_module_keeps_the_dimension_of_a_batch_of_one_sample() -> None:
    """The text of a `module` is checked like a class; one for batches of a fixed size is allowed."""
    spec: dict[str, Any] = {
        "type": "module",
        "inputs": ["x"],
        "submodules": {"fc": {"type": "Linear", "out_features": 1}},
        "forward": "return self.fc(x.view(4, 3)).squeeze()",
    }
    assert check(read_architecture(spec), [torch.zeros(4, 3)], 10**6).outputs["output"].shape == (4,)
    spec["forward"] = "return self.fc(x).squeeze()"
    with pytest.raises(InvalidRequest):
        check(read_architecture({"type": "sequential", "layers": [spec]}), [torch.zeros(4, 3)], 10**6)
    with pytest.raises(InvalidRequest) as refusal:
        check(read_architecture(spec), [torch.zeros(4, 3)], 10**6)
    ((pointer, detail),) = [(error.pointer, error.detail) for error in refusal.value.errors]
    assert pointer == "#/architecture/forward"
    assert "output `output` is [] instead of [1]." in detail


LOOP = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(2, 2)

    def forward(self, x):
        kept = [x]
        for _ in range({times}):
            {body}
        return self.l(x)
"""


@pytest.mark.parametrize(
    ("body", "times"),
    [
        ("x = self.l(x)", 2_001),
        ("kept.append(torch.stack(kept).sum(0))", 450),
        ("kept.append(torch.cat(kept, 1)[:, :2])", 450),
    ],
    ids=["layer", "stack", "cat"],
)
def test_operations_that_take_longer_count_as_several(body: str, times: int) -> None:
    """So an endless loop ends after about the same time, whatever it repeats."""
    with pytest.raises(InvalidRequest) as caught:
        check_class(LOOP.format(body=body, times=times), [torch.empty(4, 2)])
    assert "more than 10,000 operations" in caught.value.errors[0].detail


@pytest.mark.parametrize("body", ["kept.append(torch.cat(kept, 1)[:, :2])", "x = torch.tanh(self.l(x) + x)"])
def test_a_text_may_repeat_what_deep_models_repeat(body: str) -> None:
    """A recurrence over 200 steps, or 200 layers of which each reads all before it, is accepted."""
    checked = check_class(LOOP.format(body=body, times=200), [torch.empty(4, 2)])
    assert checked.parameter_count == 6
