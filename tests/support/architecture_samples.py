"""Valid arguments and input shapes of every layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SIGNAL, IMAGE, VOLUME = (2, 4, 8), (2, 4, 8, 8), (2, 4, 8, 8, 8)
BY_DIMS = {1: SIGNAL, 2: IMAGE, 3: VOLUME}


@dataclass(frozen=True)
class Sample:
    """Arguments of a layer and the shapes of its inputs.

    Attributes:
        shapes: Shapes of the inputs, batch dimension first.
        arguments: Arguments as JSON.
        integers: Inputs are integers from 0 to 4 instead of floats.
    """

    shapes: tuple[tuple[int, ...], ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    integers: bool = False

    def inputs(self) -> list[Tensor]:
        """Return random inputs of these shapes."""
        return [torch.randint(0, 5, shape) if self.integers else torch.randn(shape) for shape in self.shapes]


def sample(*shapes: tuple[int, ...], **arguments: Any) -> Sample:
    """Return a sample with float inputs."""
    return Sample(shapes, arguments)


ELEMENTWISE = (
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Tanh"),
    *("Hardtanh", "Tanhshrink", "Sigmoid", "LogSigmoid", "Hardsigmoid", "Hardswish", "Softplus", "Softsign"),
    *("Softshrink", "Hardshrink", "Identity", "Dropout", "AlphaDropout"),
)
SEQUENCE = (2, 5, 8)
ENCODER_LAYER = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}

SAMPLES: dict[str, Sample] = {
    **dict.fromkeys(ELEMENTWISE, sample((3, 6))),
    "Linear": sample((3, 6), in_features=6, out_features=2),
    "Bilinear": sample((3, 6), (3, 5), in1_features=6, in2_features=5, out_features=2),
    "Threshold": sample((3, 6), threshold=0.1, value=20.0),
    "GLU": sample((3, 6)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmin"), sample((3, 6), dim=1)),
    "Softmax2d": sample(IMAGE),
    "Fold": sample((2, 12, 9), output_size=[4, 4], kernel_size=2),
    "Unfold": sample(IMAGE, kernel_size=[2, 2]),
    "LayerNorm": sample((3, 6), normalized_shape=[6]),
    "RMSNorm": sample((3, 6), normalized_shape=6),
    "GroupNorm": sample(IMAGE, num_groups=2, num_channels=4),
    "LocalResponseNorm": sample(IMAGE, size=2),
    "FeatureAlphaDropout": sample(IMAGE),
    "Embedding": Sample(
        ((3, 6),), {"num_embeddings": 5, "embedding_dim": 2, "padding_idx": 0}, integers=True
    ),
    "EmbeddingBag": Sample(
        ((3, 6),), {"num_embeddings": 5, "embedding_dim": 2, "mode": "sum"}, integers=True
    ),
    "RNN": sample(SEQUENCE, input_size=8, hidden_size=3, batch_first=True, nonlinearity="relu"),
    "LSTM": sample(SEQUENCE, input_size=8, hidden_size=3, batch_first=True, num_layers=2),
    "GRU": sample(SEQUENCE, input_size=8, hidden_size=3, batch_first=True, bidirectional=True),
    **dict.fromkeys(("RNNCell", "LSTMCell", "GRUCell"), sample((3, 6), input_size=6, hidden_size=2)),
    "MultiheadAttention": sample(SEQUENCE, SEQUENCE, SEQUENCE, embed_dim=8, num_heads=2, batch_first=True),
    "TransformerEncoderLayer": sample(SEQUENCE, **ENCODER_LAYER),
    "TransformerDecoderLayer": sample(SEQUENCE, SEQUENCE, **ENCODER_LAYER),
    "TransformerEncoder": sample(
        SEQUENCE,
        encoder_layer={"type": "TransformerEncoderLayer", **ENCODER_LAYER, "activation": "gelu"},
        num_layers=2,
        norm={"type": "LayerNorm", "normalized_shape": 8},
    ),
    "TransformerDecoder": sample(
        SEQUENCE,
        SEQUENCE,
        decoder_layer={"type": "TransformerDecoderLayer", **ENCODER_LAYER},
        num_layers=2,
    ),
    "Transformer": sample(
        SEQUENCE, SEQUENCE, **ENCODER_LAYER, num_encoder_layers=1, num_decoder_layers=1, dropout=0.0
    ),
    "Flatten": sample(IMAGE),
    "Unflatten": sample((3, 6), dim=1, unflattened_size=[2, 3]),
    "PixelShuffle": sample(IMAGE, upscale_factor=2),
    "PixelUnshuffle": sample(IMAGE, downscale_factor=2),
    "ChannelShuffle": sample(IMAGE, groups=2),
    "Upsample": sample(SIGNAL, size=12, mode="linear", align_corners=True),
    "UpsamplingNearest2d": sample(IMAGE, scale_factor=2.0),
    "UpsamplingBilinear2d": sample(IMAGE, size=[9, 9]),
    "CosineSimilarity": sample((3, 6), (3, 6)),
    "PairwiseDistance": sample((3, 6), (3, 6), keepdim=True),
    **{f"Dropout{dims}d": sample(shape) for dims, shape in BY_DIMS.items()},
    **{f"BatchNorm{dims}d": sample(shape, num_features=4) for dims, shape in BY_DIMS.items()},
    **{f"InstanceNorm{dims}d": sample(shape, num_features=4, affine=True) for dims, shape in BY_DIMS.items()},
    **{
        f"Conv{dims}d": sample(shape, in_channels=4, out_channels=6, kernel_size=[3] * dims, padding="same")
        for dims, shape in BY_DIMS.items()
    },
    **{
        f"ConvTranspose{dims}d": sample(shape, in_channels=4, out_channels=6, kernel_size=3, groups=2)
        for dims, shape in BY_DIMS.items()
    },
    **{f"MaxPool{dims}d": sample(shape, kernel_size=2) for dims, shape in BY_DIMS.items()},
    **{f"MaxUnpool{dims}d": sample(shape, shape, kernel_size=2) for dims, shape in BY_DIMS.items()},
    **{f"AvgPool{dims}d": sample(shape, kernel_size=[2] * dims) for dims, shape in BY_DIMS.items()},
    **{f"LPPool{dims}d": sample(shape, norm_type=2.0, kernel_size=2) for dims, shape in BY_DIMS.items()},
    **{f"AdaptiveAvgPool{dims}d": sample(shape, output_size=3) for dims, shape in BY_DIMS.items()},
    **{f"AdaptiveMaxPool{dims}d": sample(shape, output_size=3) for dims, shape in BY_DIMS.items()},
    **{
        f"FractionalMaxPool{dims}d": sample(BY_DIMS[dims], kernel_size=2, output_ratio=0.5) for dims in (2, 3)
    },
    **{
        f"{mode}Pad{dims}d": sample(
            shape, padding=[1, 2] * dims, **({"value": 3.5} if mode == "Constant" else {})
        )
        for mode in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for dims, shape in BY_DIMS.items()
    },
}
