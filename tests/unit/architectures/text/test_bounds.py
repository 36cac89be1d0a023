"""Bounds of the values and errors of a forward text."""

import pytest
import torch

from service.architectures.check.check import check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture

LINEAR = {"type": "Linear", "out_features": 1}


def details(forward: str) -> str:
    """Check a forward text that is refused; return the details of its errors."""
    spec = {"type": "module", "submodules": {"l": LINEAR}, "inputs": ["x"], "forward": forward}
    with pytest.raises(InvalidRequest) as raised:
        check(read_architecture(spec), [torch.empty(2, 3)], 10**6)
    return "\n".join(error.detail for error in raised.value.errors)


@pytest.mark.parametrize("line", ["n = (n, n)", "n = [n, n]", "n = (*n, n, n)", "n = n + (n,)"])
def test_shared_values_count_as_often_as_they_occur(line: str) -> None:
    """Each line doubles the nested elements, and so the time of the next visit of all of them."""
    start = "n = [1]" if line.startswith("n = [") else "n = (1, 1)"
    assert "at most 1,024 elements" in details("\n".join([start, *[line] * 22, "return self.l(x)"]))


def test_updates_are_compared_with_a_bounded_number_of_tensors() -> None:
    """Beyond it an update is made in place, as hundreds of comparisons of all could take minutes."""
    lines = ["y = torch.ones(1024)", *(f"a{n} = y.split(1)" for n in range(2)), "x += 1", "return self.l(x)"]
    assert "would overwrite the input data" in details("\n".join(lines))


def test_flat_sequences_of_a_thousand_elements_are_accepted() -> None:
    """The limit allows a list of sizes or indices, and two lists that share their elements."""
    forward = f"n = ({'1, ' * 1_000})\nm = (n, 2)\nreturn self.l(x) + m[1]"
    spec = {"type": "module", "submodules": {"l": LINEAR}, "inputs": ["x"], "forward": forward}
    assert check(read_architecture(spec), [torch.empty(2, 3)], 10**6).parameter_count == 4


def test_each_of_many_unassigned_names_is_an_error() -> None:
    """All lines are checked, and the errors beyond the first hundred are counted."""
    spec = {
        "type": "module",
        "submodules": {"l": LINEAR},
        "inputs": ["x"],
        "forward": "\n".join([*(f"a{n} = b{n} + 1" for n in range(400)), "return self.l(x)"]),
    }
    with pytest.raises(InvalidRequest, match="400 errors") as raised:
        check(read_architecture(spec), [torch.empty(2, 3)], 10**6)
    assert raised.value.errors[99].detail.startswith("Line 100, column 7: `b99`: did you mean")


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        ([LINEAR] * 3_000, "3,001"),
        ([{"type": "sequential", "layers": [LINEAR] * 1_000}] * 3, "3,004"),
        ([{"type": "LSTM", "hidden_size": 2, "num_layers": 256}] * 12, "3,085"),
        ([{"type": "Transformer", "num_encoder_layers": 200, "num_decoder_layers": 100}], "3,002"),
    ],
    ids=["flat", "nested", "stacks", "Transformers"],
)
def test_an_architecture_has_at_most_3000_layers(layers: list[object], count: str) -> None:
    """Layers of all levels and the copies in stacks count together, before any is built."""
    spec = read_architecture({"type": "sequential", "layers": layers})
    with pytest.raises(InvalidRequest) as raised:
        check(spec, [torch.empty(2, 3)], 10**6)
    (error,) = raised.value.errors
    assert f"has {count} layers and containers; at most 3,000 are allowed" in error.detail
