"""Names and arguments of the torch.nn layers that a spec may contain."""

import inspect
from collections.abc import Mapping
from typing import Any, get_overloads

from torch import nn

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "linear": ("Linear", "Bilinear", "Identity"),
    "activation": (
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
        *("Tanh", "Hardtanh", "Tanhshrink", "Sigmoid", "LogSigmoid", "Hardsigmoid", "Hardswish"),
        *("Softplus", "Softsign", "Softshrink", "Hardshrink", "Threshold", "GLU"),
        *("Softmax", "Softmax2d", "LogSoftmax", "Softmin"),
    ),
    "convolution": (
        *("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
        *("Fold", "Unfold"),
    ),
    "pooling": (
        *("MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),
        *("AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d"),
        *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
        *("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"),
        *("FractionalMaxPool2d", "FractionalMaxPool3d"),
    ),
    "padding": tuple(
        f"{mode}Pad{dims}d"
        for mode in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for dims in (1, 2, 3)
    ),
    "normalization": (
        *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "RMSNorm", "GroupNorm"),
        *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LocalResponseNorm"),
    ),
    "dropout": ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"),
    "embedding": ("Embedding", "EmbeddingBag"),
    "recurrent": ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"),
    "attention": (
        *("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"),
        *("TransformerEncoder", "TransformerDecoder", "Transformer"),
    ),
    "shape": (
        *("Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
        *("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"),
    ),
    "distance": ("CosineSimilarity", "PairwiseDistance"),
}

# Stacks of copies of one layer: the argument that holds the layer, and its class.
STACKS: Mapping[str, tuple[str, str]] = {
    "TransformerEncoder": ("encoder_layer", "TransformerEncoderLayer"),
    "TransformerDecoder": ("decoder_layer", "TransformerDecoderLayer"),
}

# Arguments that a spec does not have: a job chooses device and precision, most optimizers and gradient
# clipping fail on sparse gradients, and a custom encoder or decoder is a `module`.
OMITTED = frozenset({"device", "dtype", "sparse", "custom_encoder", "custom_decoder"})

# Accepted values by argument, where PyTorch also accepts a callable or any string.
CHOICES: Mapping[str, tuple[str, ...]] = {"activation": ("relu", "gelu"), "nonlinearity": ("tanh", "relu")}

# Defaults that JSON writes differently: PyTorch's default is the function `relu` itself.
DEFAULTS: Mapping[str, Any] = {"activation": "relu"}

# Sizes that the service infers from the data when a spec omits them, although PyTorch has a default.
SIZES_WITH_DEFAULT = frozenset({("Transformer", "d_model")})

LAYER_NAMES = frozenset(name for names in FAMILIES.values() for name in names)


def layer_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of a layer, in order, with their defaults.

    The default of a required argument is `inspect.Parameter.empty`.

    Args:
        name: Name of a class of `LAYER_NAMES`.
    """
    constructor = getattr(nn, name).__init__
    # RNN, LSTM and GRU declare their arguments only in an overload.
    declared = next(iter(get_overloads(constructor)), constructor)
    return {
        parameter.name: DEFAULTS.get(parameter.name, parameter.default)
        for parameter in list(inspect.signature(declared).parameters.values())[1:]
        if parameter.name not in OMITTED
        and not parameter.name.startswith("_")
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
