"""The layers of torch.nn that a spec can name, and the reasons for the classes that are not offered."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from fitserve.describe.layers import CHOICES, DEFAULTS, FAMILIES, OMITTED, STACKS
from service.architectures.shapes import sized_arguments
from service.specs.architecture import LayerSpec
from service.specs.arguments import Constructor

# Limits of PyTorch's kernels. The meta device, on which layers are checked, accepts larger numbers.
MAX_INT = 2**31 - 1
MAX_FLOAT = torch.finfo(torch.float32).max
# PyTorch builds and runs the copies of a stack in a Python loop: checking 256 encoder layers takes seconds.
MAX_STACKED = 256
LAYERS_OF_TRANSFORMER = 10  # layers that a copy in a stack of Transformer layers consists of
# Arguments of `forward` that a layer finds out from the values of a mask.
DETECTED: Mapping[str, tuple[str, ...]] = {
    "TransformerEncoder": ("is_causal",),
    "TransformerDecoder": ("tgt_is_causal",),
    "Transformer": ("src_is_causal", "tgt_is_causal"),
}

Integer = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)]
PositiveInteger = Annotated[int, Field(ge=1, le=MAX_INT)]
StackedCount = Annotated[int, Field(ge=1, le=MAX_STACKED)]
Float = Annotated[float, Field(ge=-MAX_FLOAT, le=MAX_FLOAT)]

# Integer arguments that must be at least 1. PyTorch refuses others late, or on the meta device not at all.
POSITIVE = frozenset(
    {
        *("in_features", "in1_features", "in2_features", "out_features"),
        *("in_channels", "out_channels", "groups", "kernel_size", "output_size", "stride", "dilation"),
        *("num_features", "num_channels", "num_groups", "num_parameters"),
        *("num_embeddings", "embedding_dim", "input_size", "hidden_size"),
        *("d_model", "nhead", "dim_feedforward", "embed_dim", "num_heads", "kdim", "vdim"),
        *("upscale_factor", "downscale_factor"),
    }
)
# Integer arguments that count the copies of a layer.
STACKED = frozenset({"num_layers", "num_encoder_layers", "num_decoder_layers"})

# Types by argument, where the signature has none or a type that JSON cannot express.
TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("embed_dim", "num_heads"), int),
    **dict.fromkeys(("kdim", "vdim"), int | None),
    "normalized_shape": PositiveInteger | Annotated[list[PositiveInteger], Field(min_length=1)],
    "unflattened_size": tuple[int, ...],
    **{name: Literal[names] for name, names in CHOICES.items()},
}

# Types by layer and argument, where PyTorch accepts any string and raises at the first call.
ANNOTATIONS: Mapping[str, Mapping[str, Any]] = {
    "GELU": {"approximate": Literal["none", "tanh"]},
    "EmbeddingBag": {"mode": Literal["sum", "mean", "max"]},
    "Upsample": {"mode": Literal["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"]},
}


def _constructor(name: str, parts: Mapping[str, Any] | None = None) -> Constructor:
    """Build the constructor of a layer.

    Args:
        name: Class name of the layer.
        parts: Types of the arguments that are layers themselves.
    """
    return Constructor(
        getattr(nn, name),
        omit=OMITTED,
        annotations={**TYPES, **ANNOTATIONS.get(name, {}), **(parts or {})},
        defaults=DEFAULTS,
        inferred=sized_arguments(name),
        number_types=_number_types,
    )


def _number_types(argument: str) -> Mapping[type, Any]:
    if argument in STACKED:
        return {int: StackedCount, float: Float}
    return {int: PositiveInteger if argument in POSITIVE else Integer, float: Float}


LAYERS: dict[str, Constructor] = {
    name: _constructor(name) for names in FAMILIES.values() for name in names if name not in STACKS
}
# Stacks come second, as the types of their arguments are those of other layers.
LAYERS |= {
    name: _constructor(
        name, {part: LAYERS[layer].nested_model, "norm": LAYERS["LayerNorm"].nested_model | None}
    )
    for name, (part, layer) in STACKS.items()
}


def undetected(layer_type: type, given: Collection[str]) -> dict[str, bool]:
    """Return arguments for a call on the meta device, where a mask has no values to look at.

    They change no shape, and no output beyond rounding.

    Args:
        layer_type: Class of the layer.
        given: Names of the arguments of the call.
    """
    names = DETECTED.get(layer_type.__name__, ()) if layer_type.__module__.startswith("torch.") else ()
    return {name: False for name in names if name not in given}


def layer_count(spec: LayerSpec) -> int:
    """Count a layer with the copies that it is a stack of, in layers of about the same work."""
    each = LAYERS_OF_TRANSFORMER if spec.type.startswith("Transformer") else 1
    arguments = spec.arguments()
    copies = [value for name in STACKED if isinstance(value := arguments.get(name), int)]
    return 1 + each * sum(min(max(value, 0), MAX_STACKED) for value in copies)


_LOSSES = (
    *("BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "LinearCrossEntropyLoss", "NLLLoss", "NLLLoss2d"),
    *("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "GaussianNLLLoss", "PoissonNLLLoss", "KLDivLoss"),
    *("MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss"),
    *("SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss", "HingeEmbeddingLoss"),
    *("CosineEmbeddingLoss", "CTCLoss", "AdaptiveLogSoftmaxWithLoss"),
)
# Losses without parameters of their own, which the text of a class may make.
PLAIN_LOSSES = tuple(
    name
    for name in _LOSSES
    if name not in ("AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "TripletMarginWithDistanceLoss")
)
# Layers of which PyTorch has a lazy variant.
_LAZY = (
    "Linear",
    *(
        f"{family}{dims}d"
        for family in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
        for dims in (1, 2, 3)
    ),
)

# The other classes of torch.nn, with the reason and what to write instead.
NOT_OFFERED: Mapping[str, str] = {
    **dict.fromkeys(_LOSSES, "it is a loss; set it as `training.loss`."),
    **{f"Lazy{name}": f"use `{name}`; its input size is inferred when omitted." for name in _LAZY},
    "Sequential": 'use {"type": "sequential", "layers": […]}.',
    **dict.fromkeys(
        ("Module", "Container", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"),
        'it has no forward pass; put the layers in {"type": "sequential", "layers": […]}.',
    ),
    **dict.fromkeys(
        ("Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"),
        "it is a tensor, not a layer; declare free parameters in `parameters` of a `module`.",
    ),
    "RNNBase": "it is the base class of `RNN`, `LSTM` and `GRU`; use one of them.",
    "RNNCellBase": "it is the base class of `RNNCell`, `LSTMCell` and `GRUCell`; use one of them.",
    "CrossMapLRN2d": "it loops over the channels in Python; `LocalResponseNorm` computes the same.",
    "SyncBatchNorm": "it synchronizes several processes; use `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`.",
    "DataParallel": "a job trains on one device; set it as `device`.",
    "LinearCrossEntropyOptions": "it holds options of a loss; a loss is set as `training.loss`.",
}
