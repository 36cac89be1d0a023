"""Which shapes the layers take, and which of their arguments is the size of which dimension.

One table says it all: with it sizes that were left out are filled in, sizes that don't fit are told
with the shape that arrived, and the catalog prints the shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = Sequence[int]  # of one tensor, the batch first


@dataclass(frozen=True)
class Form:
    """The dimensions of a tensor by name, e.g. `B in_channels H W`.

    A lower-case name is the argument that must equal the size (two of them joined by `=` must both),
    a capital any size, `*` any number of dimensions.
    """

    names: tuple[str, ...]

    def spread(self, rank: int) -> tuple[str, ...] | None:
        """One name for each of `rank` dimensions, or None when the form has another number of them."""
        if "*" not in self.names:
            return self.names if rank == len(self.names) else None
        start, free = self.names.index("*"), rank - len(self.names) + 1
        return None if free < 0 else (*self.names[:start], *("*" * free), *self.names[start + 1 :])

    def arguments(self) -> list[str]:
        """The arguments that are the size of a dimension."""
        return [argument for name in self.names for argument in name.split("=") if argument[0].islower()]

    def __str__(self) -> str:
        return f"[{', '.join(name.split('=')[0] for name in self.names)}]"


class Misfit(Exception):
    """Input number `source` has more or fewer dimensions than the layer takes."""

    def __init__(self, source: int, takes: str) -> None:
        super().__init__(takes)
        self.source = source
        self.takes = takes


def _forms(text: str) -> tuple[tuple[Form, ...], ...]:
    """Read `a b | c, d`: for each input (`,`) the alternative forms (`|`)."""
    return tuple(
        tuple(Form(tuple(form.split())) for form in one_input.split("|")) for one_input in text.split(",")
    )


# Layers that are not here take any shape, or PyTorch's own message is as good as ours. Where PyTorch would
# take a missing dimension for "no batch" and mix the samples (convolutions), the form is narrower than it.
FORMS: Mapping[str, tuple[tuple[Form, ...], ...]] = {
    name: _forms(text)
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
    """The arguments of a layer that its inputs' shapes determine; `a.b` is argument `b` of the part `a`."""
    found = [name for forms in FORMS.get(layer, ()) for form in forms for name in form.arguments()]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Size:
    """What an argument must be: the size of dimension `dim` of input number `source`."""

    argument: str
    source: int
    dim: int
    value: int


def sizes(layer: str, shapes: Sequence[Shape]) -> list[Size]:
    """What a layer's sized arguments must be for inputs of these shapes.

    Raises:
        Misfit: when an input has more or fewer dimensions than the layer takes.
    """
    found = []
    for source, (forms, shape) in enumerate(zip(FORMS.get(layer, ()), shapes, strict=False)):
        names = next((names for form in forms if (names := form.spread(len(shape)))), None)
        if names is None:
            raise Misfit(source, " or ".join(map(str, forms)))
        for dim, name in enumerate(names):
            sized = [argument for argument in name.split("=") if argument[0].islower()]
            found += [Size(argument, source, dim, shape[dim]) for argument in sized]
    return found


def left_out(layer: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a size is missing that the inputs' shapes will tell."""
    holders = [_holder(arguments, argument) for argument in sized_arguments(layer)]
    return any(holder is not None and name not in holder for holder, name in holders)


def fill(arguments: Mapping[str, Any], size: Size) -> int | None:
    """Set an argument to the size it must have; what was declared instead, if anything was.

    Nothing is done for a part that is not there, or an argument that speaks of several dimensions
    (`normalized_shape: [3, 8]`).
    """
    holder, name = _holder(arguments, size.argument)
    value = holder.get(name) if holder is not None else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if holder is None or isinstance(value, list) or value == size.value:
        return None
    holder[name] = size.value
    return value


def _holder(arguments: Any, argument: str) -> tuple[dict[str, Any] | None, str]:
    """The part that has an argument (None when it was not given), and the argument's own name."""
    *parts, name = argument.split(".")
    for part in parts:
        arguments = arguments.get(part) if arguments else None
    return arguments, name
