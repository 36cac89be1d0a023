"""The check of an architecture: completed specs, reports, errors and warnings."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from service.architectures.build import build
from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.layers import LAYERS
from service.errors import InvalidRequest
from service.specs.architecture import MAX_DEPTH, read_architecture
from tests.support.architecture_samples import SAMPLES, SEQUENCE

TANH: dict[str, Any] = {"type": "Tanh"}


def linear(outputs: int, inputs: int | None = None, **more: Any) -> dict[str, Any]:
    sized = {} if inputs is None else {"in_features": inputs}
    return {"type": "Linear", **sized, "out_features": outputs, **more}


def checked(
    layers: list[dict[str, Any]], *shape: int, dtype: torch.dtype = torch.float32, max_parameters: int = 10**6
) -> CheckedArchitecture:
    spec = read_architecture({"type": "sequential", "layers": layers})
    return check(spec, [torch.empty(shape, dtype=dtype, device="meta")], max_parameters)


def refused(layers: list[dict[str, Any]], *shape: int, **more: Any) -> list[tuple[str, str]]:
    """Return the errors; pointers are relative to the list of layers."""
    with pytest.raises(InvalidRequest) as caught:
        checked(layers, *shape, **more)
    return [
        (error.pointer.removeprefix("#/architecture/layers/"), error.detail) for error in caught.value.errors
    ]


def test_sizes_and_defaults_are_filled_in() -> None:
    """The completed spec has every argument, and is accepted unchanged when sent again."""
    activation: dict[str, Any] = {"type": "LeakyReLU", "name": "act"}
    result = checked([linear(13), activation, linear(1)], 9, 4)
    assert result.spec == {
        "type": "sequential",
        "layers": [
            {"type": "Linear", "in_features": 4, "out_features": 13, "bias": True},
            {"name": "act", "type": "LeakyReLU", "negative_slope": 0.01, "inplace": False},
            {"type": "Linear", "in_features": 13, "out_features": 1, "bias": True},
        ],
    }
    assert checked(result.spec["layers"], 9, 4).spec == result.spec


def test_the_report_shows_each_layer_with_its_shapes_and_parameters() -> None:
    """The report has the shapes with the batch as B, and the counts and bytes of the module."""
    result = checked([linear(13), TANH, linear(1)], 9, 1)
    assert result.layers == [
        {"path": "0", "type": "Linear", "input_shape": ["B", 1], "output_shape": ["B", 13], "parameters": 26},
        {"path": "1", "type": "Tanh", "input_shape": ["B", 13], "output_shape": ["B", 13], "parameters": 0},
        {"path": "2", "type": "Linear", "input_shape": ["B", 13], "output_shape": ["B", 1], "parameters": 14},
    ]
    assert (result.outputs["output"].shape, result.outputs["output"].device.type) == ((9, 1), "meta")
    assert (result.parameter_count, result.parameter_bytes) == (40, 160)
    assert repr(result.module).splitlines()[1] == "  (0): Linear(in_features=1, out_features=13, bias=True)"
    assert result.warnings == []


def test_activation_bytes_are_what_autograd_saves() -> None:
    """Linear saves its input [9, 1], and Tanh its output [9, 13], which the next Linear shares."""
    assert checked([linear(13), TANH, linear(1)], 9, 1).activation_bytes == 4 * (9 * 1 + 9 * 13)


def test_activation_bytes_grow_with_the_steps_of_a_recurrent_layer() -> None:
    """A sequence of 2000 steps is run as a single step, and its memory is counted 2000 times."""
    lstm: dict[str, Any] = {"type": "LSTM", "hidden_size": 8, "batch_first": True}
    layers = [lstm, {"type": "Flatten"}, linear(1)]
    one, many = checked(layers, 4, 1, 3), checked(layers, 4, 2000, 3)
    assert many.layers[0]["output_shape"] == ["B", 2000, 8]
    assert 1990 < many.activation_bytes / one.activation_bytes < 2010


@pytest.mark.parametrize("name", [name for name in LAYERS if len(SAMPLES[name].shapes) == 1])
def test_each_layer_returns_the_shape_of_the_check(name: str) -> None:
    """A checked layer runs and returns the reported shape, also if its sizes were inferred."""
    sample = SAMPLES[name]
    layer = {"type": name, **without_sizes(name, sample.arguments)}
    # A Linear before it, because an architecture without parameters is refused.
    layers = [layer] if sample.integers else [linear(sample.shapes[0][-1]), layer]
    spec = read_architecture({"type": "sequential", "layers": layers})
    result = check(spec, sample.inputs(), 10**6)
    module = build(read_architecture(result.spec))
    assert module(*sample.inputs()).shape == result.outputs["output"].shape
    assert repr(module) == repr(result.module)


def without_sizes(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the arguments that are inferred, also those of layers in arguments."""
    return {
        key: without_sizes(value["type"], value) if isinstance(value, dict) else value
        for key, value in arguments.items()
        if key not in LAYERS[name].inferred
    }


def test_all_errors_in_names_types_and_arguments_are_reported_at_once() -> None:
    """One answer has each error with its pointer, in the order of the request."""
    layers: list[dict[str, Any]] = [
        {"type": "Tahn"},
        {"type": "LazyLinear", "out_features": 3},
        {"type": "Linear", "in_feature": 3, "bias": "x"},
        linear(10**30, inputs=-1),
        {"type": "Dropout", "p": 3},
        {"type": "Conv2d", "out_channels": 4, "kernel_size": "x"},
        {"type": "sequential", "name": "inner", "layers": [{"type": "ReLU", "name": "a"}, {"type": "Quux"}]},
        {"type": "ReLU", "name": "inner"},
        {"type": "ReLU", "name": "forward"},
        {"type": "ReLU", "name": "10"},
        {"type": "ReLU"},
    ]
    assert refused(layers, 9, 1) == [
        ("0/type", "`Tahn`: did you mean `Tanh`?"),
        (
            "1/type",
            "`LazyLinear` is not offered: use `Linear`; its input size is inferred when omitted.",
        ),
        ("2", "`out_features` is required."),
        ("2/bias", "Should be a valid boolean."),
        ("2/in_feature", "`in_feature` is not a field here: did you mean `in_features`?"),
        ("3/in_features", "Should be greater than or equal to 1."),
        ("3/out_features", "Should be less than or equal to 2147483647."),
        ("4", "Layer `4` (Dropout): dropout probability has to be between 0 and 1, but got 3.0."),
        ("5/kernel_size", "Should be a valid integer, or be a valid list."),
        ("6/layers/1/type", "`Quux` is not a layer. `GET /v1/catalog/layers` lists them."),
        ("7/name", "Two layers are called `inner`; rename one of them."),
        ("8/name", "`forward` is an attribute of nn.Sequential; choose another name for the layer."),
        ("10", "Two layers are called `10`; rename one of them."),
    ]


@pytest.mark.parametrize(
    ("layers", "shape", "expected"),
    [
        (
            [linear(13), TANH, linear(1, inputs=8)],
            (9, 1),
            (
                "2/in_features",
                "Layer `2` (Linear) expects [B, 8] and got [B, 13] from layer `1`: set in_features to 13.",
            ),
        ),
        (
            [linear(13)],
            (9,),
            (
                "0",
                "Layer `0` (Linear) expects [B, *, in_features] and got [B] from the input: "
                "each sample must be a list of numbers, e.g. [[35.7], [55.9]].",
            ),
        ),
        (
            [{"type": "Conv2d", "out_channels": 4, "kernel_size": 3}],
            (9, 64),
            (
                "0",
                "Layer `0` (Conv2d) expects [B, in_channels, H, W] and got [B, 64] from the input: "
                "a `Flatten` or an `Unflatten` before it changes the number of dimensions.",
            ),
        ),
        (
            [{"type": "Conv2d", "out_channels": 4, "kernel_size": 9}],
            (9, 1, 8, 8),
            (
                "0",
                "Layer `0` (Conv2d) got [B, 1, 8, 8] from the input: "
                "Calculated padded input size per channel: (8 x 8). "
                "Kernel size: (9 x 9). Kernel size can't be greater than actual input size.",
            ),
        ),
        (
            [
                {
                    "type": "TransformerEncoder",
                    "num_layers": 1,
                    "encoder_layer": {
                        "type": "TransformerEncoderLayer",
                        "d_model": 6,
                        "nhead": 2,
                        "batch_first": True,
                    },
                }
            ],
            SEQUENCE,
            (
                "0/encoder_layer/d_model",
                "Layer `0` (TransformerEncoder) expects [B, 5, 6] and got [B, 5, 8] from the input: "
                "set encoder_layer.d_model to 8.",
            ),
        ),
        (
            [{"type": "GroupNorm", "num_groups": 3}],
            (9, 64),
            (
                "0",
                "Layer `0` (GroupNorm) got [B, 64] from the input: "
                "num_channels (64) must be divisible by num_groups (3).",
            ),
        ),
        (
            [{"type": "Softmax", "dim": 5}],
            (9, 3),
            ("0/dim", "Layer `0` (Softmax) got [B, 3] from the input: set dim between -2 and 1."),
        ),
        (
            [{"type": "Conv1d", "out_channels": 2, "kernel_size": 3, "dilation": 0}],
            (9, 3, 8),
            ("0/dilation", "Should be greater than or equal to 1, or be a valid list."),
        ),
        (
            [{"type": "Bilinear", "out_features": 3}],
            (9, 64),
            ("0", "Layer `0` (Bilinear) expects input1 and input2, and got 1 input."),
        ),
        (
            [{"type": "Embedding", "num_embeddings": 3, "embedding_dim": 2}],
            (9, 64),
            (
                "0",
                "Layer `0` (Embedding) expects integers and got float32 [B, 64] from the input: "
                "set the dtype of the input in `data.dtypes`.",
            ),
        ),
        (
            [{"type": "sequential", "name": "body", "layers": [linear(2), linear(3, inputs=5)]}],
            (9, 4),
            (
                "0/layers/1/in_features",
                "Layer `body.1` (Linear) expects [B, 5] and got [B, 2] from layer `body.0`: "
                "set in_features to 2.",
            ),
        ),
        (
            [TANH],
            (9, 1),
            ("#/architecture", "The architecture has no parameters to train; add a layer with weights."),
        ),
        (
            [linear(3), {"type": "Flatten", "start_dim": 0}],
            (9, 1),
            (
                "#/architecture",
                "The architecture returns [27]; the first dimension must be the batch: [B, …].",
            ),
        ),
        (
            [linear(10**6), linear(10**6)],
            (9, 64),
            ("#/architecture", "The model has 1,000,066,000,000 parameters; at most 1,000,000 are allowed."),
        ),
    ],
)
def test_a_shape_error_names_the_layer_the_shapes_and_the_remedy(
    layers: list[dict[str, Any]], shape: tuple[int, ...], expected: tuple[str, str]
) -> None:
    """The error has the pointer, the expected and the actual shape, and the remedy."""
    assert refused(layers, *shape) == [expected]


def test_an_integer_input_is_refused_by_a_layer_with_weights() -> None:
    """Linear refuses int64 with the dtype that it expects."""
    assert refused([linear(1)], 9, 4, dtype=torch.int64) == [
        (
            "0",
            "Layer `0` (Linear) expects floating-point numbers and got int64 [B, 4] from the input: "
            "set the dtype of the input in `data.dtypes`.",
        )
    ]


def test_a_wrong_size_does_not_hide_later_ones() -> None:
    """All three wrong sizes are reported, and the advised sizes give a valid architecture."""
    layers = [linear(8, inputs=2), {"type": "BatchNorm1d", "num_features": 9}, linear(1, inputs=7)]
    pointers = [pointer for pointer, _ in refused(layers, 9, 1)]
    assert pointers == ["0/in_features", "1/num_features", "2/in_features"]
    assert checked(
        [linear(8, inputs=1), {"type": "BatchNorm1d", "num_features": 8}, linear(1, inputs=8)], 9, 1
    )


def test_a_huge_layer_is_counted_without_being_allocated() -> None:
    """A layer with 10**10 weights is checked on the meta device; only `max_parameters` refuses it."""
    result = checked([linear(10**5, inputs=10**5)], 2, 10**5, max_parameters=10**11)
    assert result.parameter_count == 10**10 + 10**5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ({"type": "LSTM", "hidden_size": 3}, (4, 5, 2)),
        ({"type": "GRU", "hidden_size": 3, "batch_first": True}, (4, 2)),
        ({"type": "TransformerEncoderLayer", "nhead": 1, "dim_feedforward": 4}, (4, 5, 2)),
    ],
    ids=("LSTM", "GRU", "TransformerEncoderLayer"),
)
def test_a_layer_that_mixes_samples_is_warned_of(layer: dict[str, Any], shape: tuple[int, ...]) -> None:
    """A layer without batch_first reads the batch as time, which gives a warning."""
    [warning] = checked([layer], *shape).warnings
    assert "reads the samples of a batch as the steps of one sequence" in warning.detail


def test_warnings_of_pytorch_are_reported() -> None:
    """PyTorch's warning about a dropout in an LSTM of one layer appears with the pointer of the layer."""
    lstm: dict[str, Any] = {"type": "LSTM", "hidden_size": 3, "batch_first": True, "dropout": 0.5}
    [warning] = checked([lstm], 4, 5, 2).warnings
    assert warning.pointer == "#/architecture/layers/0"
    assert warning.detail.startswith("Layer `0` (LSTM): dropout option adds dropout after all but last")


IN_PLACE: dict[str, Any] = {"type": "LeakyReLU", "inplace": True}


@pytest.mark.parametrize(
    ("layers", "location"),
    [
        ([IN_PLACE, linear(1)], "0"),
        ([{"type": "Dropout", "inplace": True}, linear(1)], "0"),
        ([{"type": "Identity"}, IN_PLACE, linear(1)], "1"),
        ([{"type": "Flatten"}, IN_PLACE, linear(1)], "1"),
        ([{"type": "Dropout"}, IN_PLACE, linear(1)], "1"),  # returns its input itself in eval mode
        ([{"type": "sequential", "layers": [{"type": "ELU", "inplace": True}]}, linear(1)], "0/layers/0"),
    ],
)
def test_an_in_place_layer_on_the_input_is_refused(layers: list[dict[str, Any]], location: str) -> None:
    """A layer that would overwrite an input, or a view of one, is refused at its argument `inplace`."""
    [(pointer, detail)] = refused(layers, 9, 4)
    assert pointer == f"{location}/inplace"
    assert detail.endswith("would overwrite the input data: set inplace to false.")


@pytest.mark.parametrize(
    "forward",
    [
        "return self.out(self.act(input))",
        "return self.out(input) + self.act(input[:, :1])",
        "x = input.reshape(-1, 2, 2)\nreturn self.out(self.act(x).flatten(1))",
        "return self.out(self.act(F.dropout(input, training=self.training)))",
    ],
)
def test_an_in_place_layer_on_a_view_of_the_input_is_refused(forward: str) -> None:
    """A forward text that passes a view of an input to an in-place layer is refused."""
    submodules = {"act": IN_PLACE, "out": linear(1, inputs=4)}
    spec = read_architecture({"type": "module", "submodules": submodules, "forward": forward})
    with pytest.raises(InvalidRequest) as caught:
        check(spec, [torch.empty(9, 4, device="meta")], 10**6)
    assert [error.pointer for error in caught.value.errors] == ["#/architecture/submodules/act/inplace"]


def test_an_in_place_layer_on_an_output_is_accepted() -> None:
    """An in-place layer behind a layer that returns a new tensor is accepted without a warning."""
    dropout: dict[str, Any] = {"type": "Dropout", "inplace": True}
    layers = [linear(4), IN_PLACE, dropout, linear(4), {"type": "Flatten"}, IN_PLACE, linear(1)]
    assert checked(layers, 9, 4).warnings == []


def test_containers_can_be_nested_as_deep_as_allowed() -> None:
    """The deepest allowed architecture is checked, built and run."""
    layer = linear(1)
    for _ in range(MAX_DEPTH - 1):
        layer = {"type": "sequential", "layers": [layer]}
    result = checked([layer], 2, 3)
    assert build(read_architecture(result.spec))(torch.zeros(2, 3)).shape == (2, 1)
