"""The outputs of a model by name."""

from typing import Any

import pytest
import torch
from torch import Tensor

from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.outputs import OutputLayout, UnnamedOutput, named_outputs
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture

A, B, C = (torch.zeros(4, size) for size in (1, 2, 3))
LINEAR = {"l": {"type": "Linear", "out_features": 2}}
LSTM = {"r": {"type": "LSTM", "hidden_size": 3, "batch_first": True}}


@pytest.mark.parametrize(
    ("result", "names", "expected"),
    [
        (A, None, {"output": A}),
        (A, ["mean"], {"mean": A}),
        ((A, B), None, {"0": A, "1": B}),
        ([A, B], ["mean", "log_var"], {"mean": A, "log_var": B}),
        ((A, (B, C)), None, {"0": A, "1.0": B, "1.1": C}),
        ((A, (B, C)), ["out", "hidden"], {"out": A, "hidden.0": B, "hidden.1": C}),
        ({"x": A, "y": B}, None, {"x": A, "y": B}),
        ({"x": A, "y": B}, ["y", "x"], {"y": B, "x": A}),
        ({"x": A, "more": {"y": B}}, None, {"x": A, "more.y": B}),
        ((A, None), None, {"0": A}),
    ],
)
def test_outputs_have_names(result: Any, names: list[str] | None, expected: dict[str, Tensor]) -> None:
    """Tensors are called by position, key or declared name, in the order of the outputs; None is left out."""
    outputs = named_outputs(result, names)
    assert list(outputs) == list(expected)
    assert all(outputs[name] is expected[name] for name in expected)


@pytest.mark.parametrize(
    ("result", "names", "field", "detail"),
    [
        (A, ["a", "b"], "outputs", "`forward` returns one tensor, and `outputs` names 2."),
        ((A, B), ["a"], "outputs", "`forward` returns 2 values, and `outputs` names 1."),
        ({"mean": A, "x": B}, ["meen", "x"], "outputs", "without the key `meen`: did you mean `mean`?"),
        (
            {"mean": A, "x": B},
            ["x"],
            "outputs",
            "`outputs` lacks keys of the dict that `forward` returns: mean.",
        ),
        (3, None, "forward", "returns a int; it must return a tensor, or a tuple, list or dict of tensors."),
        ((A, 3), None, "forward", "returns a int as output `1`"),
        ((None,), None, "forward", "returns no tensor"),
        ([A] * 65, None, "forward", "returns 65 tensors; at most 64 are allowed."),
    ],
)
def test_what_has_no_names_is_an_error(result: Any, names: list[str] | None, field: str, detail: str) -> None:
    """The error says which field of the spec is wrong."""
    with pytest.raises(UnnamedOutput) as caught:
        named_outputs(result, names)
    assert caught.value.field == field
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("result", "names", "field", "places"),
    [
        ({"b.0": A, "b": (B, C)}, None, "forward", ("b.0", "['b.0']", "['b'][0]")),
        ({"b.0": A, "b": (B, C)}, ["b", "b.0"], "forward", ("b.0", "['b'][0]", "['b.0']")),
        ({1: A, "1": B}, None, "forward", ("1", "[1]", "['1']")),
        ({1: A, "1": B}, ["1"], "forward", ("1", "[1]", "['1']")),
        ((A, {"x": {"y": B}, "x.y": C}), None, "forward", ("1.x.y", "[1]['x']['y']", "[1]['x.y']")),
        ((A, (B, C)), ["b.1", "b"], "outputs", ("b.1", "[0]", "[1][1]")),
    ],
)
def test_two_outputs_of_one_name_are_an_error(
    result: Any, names: list[str] | None, field: str, places: tuple[str, str, str]
) -> None:
    """No output replaces another; the error says where both are."""
    with pytest.raises(UnnamedOutput) as caught:
        named_outputs(result, names)
    assert caught.value.field == field
    name, first, second = places
    assert f"Two outputs are called `{name}`: `{first}` and `{second}`" in caught.value.detail


def checked(forward: str, submodules: dict[str, Any], *shape: int, **more: Any) -> CheckedArchitecture:
    spec = {"type": "module", "forward": forward, "submodules": submodules, "inputs": ["x"], **more}
    return check(read_architecture(spec), [torch.empty(shape, device="meta")], 10**6)


def test_a_checked_module_has_its_outputs_by_name() -> None:
    """A module of several outputs has the shape of each, and keeps their names in its spec."""
    result = checked("return self.l(x), x", LINEAR, 5, 3, outputs=["y", "same"])
    assert {name: tuple(each.shape) for name, each in result.outputs.items()} == {"y": (5, 2), "same": (5, 3)}
    assert result.spec["outputs"] == ["y", "same"]
    assert not result.warnings


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_hidden_states_are_left_out_with_a_warning(batch: int) -> None:
    """States [layers, B, …] are no outputs, even where a batch has as many samples as there are layers."""
    result = checked("y, (h, c) = self.r(x)\nreturn y, (h, c)", LSTM, batch, 4, 3)
    assert list(result.outputs) == ["0"]
    assert [warning.detail[:40] for warning in result.warnings] == [
        f"Output `1.{n}` is [1, {batch}, 3], whose first dimen"[:40] for n in range(2)
    ]


def test_a_wrong_number_of_names_points_to_them() -> None:
    """The pointer of the error is that of `outputs`."""
    with pytest.raises(InvalidRequest) as caught:
        checked("return self.l(x), x", LINEAR, 5, 3, outputs=["y"])
    assert [error.pointer for error in caught.value.errors] == ["#/architecture/outputs"]


def test_only_the_whole_model_names_its_outputs() -> None:
    """Names in a submodule are refused, because nothing would use them."""
    inner = {"type": "module", "forward": "return x, x", "inputs": ["x"], "outputs": ["a", "b"]}
    with pytest.raises(InvalidRequest) as caught:
        checked("a, b = self.i(x)\nreturn self.l(a)", {"i": inner, **LINEAR}, 5, 3)
    assert [error.pointer for error in caught.value.errors] == ["#/architecture/submodules/i/outputs"]


def test_a_report_of_an_earlier_version_has_one_output() -> None:
    """A job that was queued or trained by an earlier version keeps its model."""
    spec = read_architecture({"type": "sequential", "layers": [{"type": "Linear", "out_features": 3}]})
    layout = OutputLayout.from_report(spec, {"output_width": 3})
    assert layout.width("output") == 3
    assert list(layout.named(C)) == ["output"]
