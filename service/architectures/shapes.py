"""Input shapes of layers, and the arguments that are the size of a dimension.

One table serves three purposes: it fills in sizes that a client omits, checks the declared ones, and appears
in the catalog.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = Sequence[int]  # of one tensor, with the batch dimension


@dataclass(frozen=True)
class ShapePattern:
    """The dimensions of an input, such as `B in_channels H W`.

    Attributes:
        names: One name for each dimension: the name of the argument that equals its size in lower case (or
            several, joined by `=`), a capital letter for any size, or `*` for any number of dimensions.
    """

    names: tuple[str, ...]

    def expand(self, rank: int) -> tuple[str, ...] | None:
        """Return one name for each of `rank` dimensions; None if the pattern does not match this number."""
        if "*" not in self.names:
            return self.names if rank == len(self.names) else None
        star, count = self.names.index("*"), rank - len(self.names) + 1  # `*` becomes `count` dimensions
        return None if count < 0 else (*self.names[:star], *("*" * count), *self.names[star + 1 :])

    def arguments(self) -> list[str]:
        """Return the arguments that are the size of a dimension."""
        return [argument for name in self.names for argument in _arguments_of(name)]

    def __str__(self) -> str:
        return f"[{', '.join(name.split('=')[0] for name in self.names)}]"


class RankError(Exception):
    """An input does not have the number of dimensions that a layer expects.

    Attributes:
        input_index: Number of the input, from 0.
        expected: The accepted shapes, as text.
    """

    def __init__(self, input_index: int, expected: str) -> None:
        super().__init__(expected)
        self.input_index = input_index
        self.expected = expected


def _arguments_of(name: str) -> list[str]:
    return [argument for argument in name.split("=") if argument[0].islower()]


def _patterns(text: str) -> tuple[tuple[ShapePattern, ...], ...]:
    """Parse `a b | c, d`: inputs are separated by `,`, and the alternatives of an input by `|`."""
    return tuple(
        tuple(ShapePattern(tuple(pattern.split())) for pattern in one_input.split("|"))
        for one_input in text.split(",")
    )


# Layers that are not listed accept any shape, or PyTorch's own message is precise. Some patterns are narrower
# than PyTorch: a convolution reads an input with one dimension less as a single sample without a batch, and
# would mix the samples.
INPUT_SHAPES: Mapping[str, tuple[tuple[ShapePattern, ...], ...]] = {
    name: _patterns(text)
    for names, text in {
        "Linear": "B * in_features",
        "Bilinear": "B * in1_features, B * in2_features",
        "Conv1d ConvTranspose1d": "B in_channels L",
        "Conv2d ConvTranspose2d": "B in_channels H W",
        "Conv3d ConvTranspose3d": "B in_channels D H W",
        "BatchNorm1d": "B num_features | B num_features L",
        "InstanceNorm1d": "B num_features L",
        "BatchNorm2d InstanceNorm2d": "B num_features H W",
        "BatchNorm3d InstanceNorm3d": "B num_features D H W",
        "GroupNorm": "B num_channels *",
        "LayerNorm RMSNorm": "B * normalized_shape",
        "RNN LSTM GRU": "B T input_size | T input_size",
        "RNNCell LSTMCell GRUCell": "B input_size",
        "MultiheadAttention": "B T embed_dim | T embed_dim",
        "TransformerEncoderLayer TransformerDecoderLayer Transformer": "B T d_model | T d_model",
        "TransformerEncoder": "B T encoder_layer.d_model=norm.normalized_shape"
        " | T encoder_layer.d_model=norm.normalized_shape",
        "TransformerDecoder": "B T decoder_layer.d_model=norm.normalized_shape"
        " | T decoder_layer.d_model=norm.normalized_shape",
        "EmbeddingBag": "B T",
    }.items()
    for name in names.split()
}


def sized_arguments(layer: str) -> tuple[str, ...]:
    """Return the arguments of a layer that are sizes of its inputs.

    Args:
        layer: Class name of the layer.

    Returns:
        Names of arguments; `a.b` is the argument `b` of the layer in the argument `a`.
    """
    names = [
        name
        for patterns in INPUT_SHAPES.get(layer, ())
        for pattern in patterns
        for name in pattern.arguments()
    ]
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class RequiredSize:
    """The value that an argument must have for the inputs of a layer.

    Attributes:
        argument: Name of the argument; `a.b` is the argument `b` of the layer in the argument `a`.
        input_index: Number of the input, from 0.
        dim: Dimension of the input.
        value: Size of the dimension.
    """

    argument: str
    input_index: int
    dim: int
    value: int


def required_sizes(layer: str, shapes: Sequence[Shape]) -> list[RequiredSize]:
    """Return the sizes that the arguments of a layer must have.

    Args:
        layer: Class name of the layer.
        shapes: Shapes of its inputs.

    Raises:
        RankError: If an input does not have the number of dimensions that the layer expects.
    """
    required = []
    for index, (patterns, shape) in enumerate(zip(INPUT_SHAPES.get(layer, ()), shapes, strict=False)):
        names = next((names for pattern in patterns if (names := pattern.expand(len(shape)))), None)
        if names is None:
            raise RankError(index, " or ".join(map(str, patterns)))
        for dim, name in enumerate(names):
            required += [RequiredSize(argument, index, dim, shape[dim]) for argument in _arguments_of(name)]
    return required


def lacks_sizes(layer: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether arguments are missing that the shapes of the inputs determine.

    Args:
        layer: Class name of the layer.
        arguments: Arguments of the layer, as JSON.
    """
    owners = [_owner_of(arguments, argument) for argument in sized_arguments(layer)]
    return any(owner is not None and name not in owner for owner, name in owners)


def set_size(arguments: Mapping[str, Any], size: RequiredSize) -> int | None:
    """Set an argument to the size that it must have.

    An argument of an absent layer (`norm`), or with sizes of several dimensions (`normalized_shape: [3, 8]`),
    stays as it is.

    Args:
        arguments: Arguments of the layer, as JSON; changed in place.
        size: The argument and its size.

    Returns:
        The wrong value that the argument had; None if it was right or missing.
    """
    owner, name = _owner_of(arguments, size.argument)
    value = owner.get(name) if owner is not None else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if owner is None or isinstance(value, list) or value == size.value:
        return None
    owner[name] = size.value
    return value


def _owner_of(arguments: Any, argument: str) -> tuple[dict[str, Any] | None, str]:
    """Return the dictionary that has an argument `a.b` (None if `a` is absent), and its own name `b`."""
    *parts, name = argument.split(".")
    for part in parts:
        arguments = arguments.get(part) if arguments else None
    return arguments, name
