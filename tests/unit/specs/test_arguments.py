"""Tests of constructors: JSON arguments of PyTorch's classes."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn, optim

from service.errors import FieldError
from service.specs.arguments import Constructor, NotExpressible


class Stack:
    """Copies of a layer."""

    def __init__(self, layer: nn.Module, copies: int = 1, size: tuple[int, int] | int = 3) -> None:
        self.layer, self.copies, self.size = layer, copies, size


STACK = Constructor(
    Stack, annotations={"layer": Constructor(nn.Linear, omit={"device", "dtype"}).nested_model}
)
LINEAR = {"type": "Linear", "in_features": 2, "out_features": 3}


def details(constructor: Constructor, **arguments: Any) -> list[tuple[str, str]]:
    return [(error.pointer, error.detail) for error in constructor.check(arguments, "#/a")]


def test_arguments_and_defaults_are_those_of_the_signature() -> None:
    """Adam's defaults are those that PyTorch declares; omitted arguments are absent."""
    adam = Constructor(optim.Adam, omit={"params", "capturable"})
    resolved = adam.resolve({"lr": 1})
    assert (resolved["lr"], resolved["betas"], resolved["weight_decay"]) == (1, [0.9, 0.999], 0.0)
    assert not {"params", "capturable"} & set(resolved)


def test_a_signature_that_only_an_overload_declares_is_found() -> None:
    """The arguments of RNN, which takes `*args`, are read from its overload."""
    rnn = Constructor(nn.RNN, omit={"device", "dtype"})
    assert list(rnn.model.model_fields)[:4] == ["input_size", "hidden_size", "num_layers", "nonlinearity"]
    assert (
        rnn.summary == "Apply a multi-layer Elman RNN with tanh or ReLU non-linearity to an input sequence."
    )


def test_an_inferred_argument_may_be_absent_but_not_null() -> None:
    """An inferred argument is optional, refuses null and has no default in the schema."""
    linear = Constructor(nn.Linear, inferred=("in_features",))
    assert linear.inferred == ("in_features",)
    assert details(linear, out_features=3) == []
    assert details(linear, in_features=None, out_features=3) == [
        ("#/a/in_features", "Should be a valid integer.")
    ]
    assert "default" not in linear.json_schema()["properties"]["in_features"]


def test_a_default_of_none_is_valid_when_sent_again() -> None:
    """The resolved null of AvgPool1d's `stride: int = None` is accepted."""
    pool = Constructor(nn.AvgPool1d)
    assert not pool.check(pool.resolve({"kernel_size": 2}), "#")


def test_a_nested_component_is_built_from_its_own_arguments() -> None:
    """An argument that is a layer is given with its type and passed as a module."""
    stack = STACK(arguments={"layer": LINEAR, "size": [1, 2]})
    assert repr(stack.layer) == repr(nn.Linear(2, 3))
    assert (stack.copies, stack.size) == (1, (1, 2))
    assert STACK.resolve({"layer": LINEAR})["layer"] == {**LINEAR, "bias": True}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [("#/a", "`layer` is required.")]),
        ({"layer": 3}, [("#/a/layer", "Should be an object.")]),
        ({"layer": {**LINEAR, "type": "Tanh"}}, [("#/a/layer/type", "Should be 'Linear'.")]),
        ({"layer": LINEAR, "size": "x"}, [("#/a/size", "Should be a valid list, or be a valid integer.")]),
        ({"layer": LINEAR, "size": [1, "x"]}, [("#/a/size/1", "Should be a valid integer.")]),
        (
            {"layer": LINEAR, "size": [1, 2, 3]},
            [("#/a/size", "Should have at most 2 items, not 3, or be a valid integer.")],
        ),
        ({"layer": LINEAR, "copy": 1}, [("#/a/copy", "`copy` is not a field here: did you mean `copies`?")]),
    ],
)
def test_one_value_has_one_error(arguments: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """The errors of a union's alternatives are merged, and tuples are called lists."""
    assert details(STACK, **arguments) == expected


def test_a_required_argument_without_json_type_is_refused() -> None:
    """A class that requires a tensor or a function has no constructor."""

    def needs_a_tensor(weight: Tensor) -> None: ...

    def needs_a_function(function: Callable[[int], int]) -> None: ...

    for target in (needs_a_tensor, needs_a_function):
        with pytest.raises(NotExpressible, match="which has no JSON type"):
            Constructor(target)


def test_errors_are_field_errors() -> None:
    """`check` returns field errors with pointers below the given one."""
    assert [*STACK.check({}, "#/a")] == [FieldError("#/a", "`layer` is required.")]
