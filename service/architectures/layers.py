"""The layer table: every layer of torch.nn that JSON can construct, and why the others are not offered."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from fitserve.describe.layers import CHOICES, DEFAULTS, FAMILIES, OMITTED, STACKS
from service.architectures.shapes import sized_arguments
from service.specs.arguments import Constructor

# What PyTorch's kernels hold: the meta device, on which layers are checked, lets larger numbers pass.
LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = torch.finfo(torch.float32).max
LARGEST_STACK = 256  # PyTorch builds and runs a stack in a Python loop: 256 encoder layers take 4 s to check

Integer = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Size = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Float = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]
Stack = Annotated[int, Field(ge=1, le=LARGEST_STACK)]

# Integers that are at least 1 in every layer: PyTorch would refuse others late, or not at all on meta.
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
STACKED = frozenset({"num_layers", "num_encoder_layers", "num_decoder_layers"})

# Types by argument name, where the signature has none or takes more than JSON can say.
TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("embed_dim", "num_heads"), int),
    **dict.fromkeys(("kdim", "vdim"), int | None),
    "normalized_shape": Size | Annotated[list[Size], Field(min_length=1)],
    "unflattened_size": tuple[int, ...],
    **{name: Literal[names] for name, names in CHOICES.items()},
}

# Types layer by layer, where PyTorch takes any string and finds out at the first call.
ANNOTATIONS: Mapping[str, Mapping[str, Any]] = {
    "GELU": {"approximate": Literal["none", "tanh"]},
    "EmbeddingBag": {"mode": Literal["sum", "mean", "max"]},
    "Upsample": {"mode": Literal["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"]},
}


def _constructor(name: str, parts: Mapping[str, Any] | None = None) -> Constructor:
    return Constructor(
        getattr(nn, name),
        omit=OMITTED,
        annotations={**TYPES, **ANNOTATIONS.get(name, {}), **(parts or {})},
        defaults=DEFAULTS,
        inferred=sized_arguments(name),
        numbers=_numbers,
    )


def _numbers(argument: str) -> Mapping[type, Any]:
    integer = Stack if argument in STACKED else Size if argument in POSITIVE else Integer
    return {int: integer, float: Float}


LAYERS: dict[str, Constructor] = {
    name: _constructor(name) for names in FAMILIES.values() for name in names if name not in STACKS
}
LAYERS |= {
    name: _constructor(name, {part: LAYERS[layer].part, "norm": LAYERS["LayerNorm"].part | None})
    for name, (part, layer) in STACKS.items()
}

_LOSSES = (
    *("BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "LinearCrossEntropyLoss", "NLLLoss", "NLLLoss2d"),
    *("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "GaussianNLLLoss", "PoissonNLLLoss", "KLDivLoss"),
    *("MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss"),
    *("SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss", "HingeEmbeddingLoss"),
    *("CosineEmbeddingLoss", "CTCLoss", "AdaptiveLogSoftmaxWithLoss"),
)
_SIZED = (
    "Linear",
    *(
        f"{kind}{dims}d"
        for kind in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
        for dims in (1, 2, 3)
    ),
)

# Every other class of torch.nn, and what to write instead.
NOT_OFFERED: Mapping[str, str] = {
    **dict.fromkeys(_LOSSES, "it is a loss: name it in `training.loss`."),
    **{f"Lazy{name}": f"every layer is lazy here: leave the input size of `{name}` out." for name in _SIZED},
    "Sequential": 'write {"type": "sequential", "layers": […]}.',
    **dict.fromkeys(
        ("Module", "Container", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"),
        'it computes nothing by itself: put the layers in {"type": "sequential", "layers": […]}.',
    ),
    **dict.fromkeys(
        ("Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"),
        "it is a tensor, not a layer: layers bring their own parameters.",
    ),
    "RNNBase": "it is the common base of `RNN`, `LSTM` and `GRU`: name one of them.",
    "RNNCellBase": "it is the common base of `RNNCell`, `LSTMCell` and `GRUCell`: name one of them.",
    "CrossMapLRN2d": "it loops over the channels in Python: `LocalResponseNorm` computes the same.",
    "SyncBatchNorm": "it joins processes that train one model together: take `BatchNorm1d` to `3d`.",
    "DataParallel": "where a job runs is said in `device`.",
    "LinearCrossEntropyOptions": "it holds options of a loss.",
}
