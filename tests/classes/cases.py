"""Class texts as users paste them, with arguments and inputs of tiny sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCES = Path(__file__).parent / "sources"
ROWS = 6  # of the data of a case
SEED = 2


@dataclass(frozen=True)
class Input:
    """Values of one input of a model.

    Attributes:
        shape: Shape of one row, without the batch dimension.
        below: Integers from 0 up to this; None for numbers from the normal distribution.
        lowest: The least integer.
    """

    shape: tuple[int, ...]
    below: int | None = None
    lowest: int = 0

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw the values, [ROWS, *shape]."""
        size = (ROWS, *self.shape)
        if self.below is None:
            return torch.randn(size, generator=generator)
        return torch.randint(self.lowest, self.below, size, generator=generator)


def numbers(*shape: int) -> Input:
    """Return an input of numbers."""
    return Input(shape)


def integers(below: int, *shape: int, lowest: int = 0) -> Input:
    """Return an input of integers, such as tokens or categories."""
    return Input(shape, below, lowest)


@dataclass(frozen=True)
class Case:
    """A class text and what to construct and call its model with.

    Attributes:
        name: Name of the file in `sources`, without suffix.
        inputs: Inputs of `forward`, in its order.
        arguments: Arguments of `__init__`, as JSON.
        class_name: Class of the model; None for the last one of the text.
    """

    name: str
    inputs: tuple[Input, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    class_name: str | None = None

    @cached_property
    def source(self) -> str:
        """The text."""
        return (SOURCES / f"{self.name}.py").read_text()

    @property
    def spec(self) -> dict[str, Any]:
        """The architecture, as JSON."""
        named = {} if self.class_name is None else {"class_name": self.class_name}
        return {"type": "class", "source": self.source, "arguments": dict(self.arguments), **named}

    def tensors(self) -> list[Tensor]:
        """Draw the inputs, [ROWS, …] each."""
        generator = torch.Generator().manual_seed(SEED)
        return [each.draw(generator) for each in self.inputs]


def case(name: str, *inputs: Input, class_name: str | None = None, **arguments: Any) -> Case:
    """Return a case."""
    return Case(name, inputs, arguments, class_name)


IMAGE = numbers(3, 8, 8)
DIGIT = numbers(1, 16, 16)
SERIES = {"steps": 8, "horizon": 3, "individual": True, "channels": 2}
BERT = {
    **{"vocab_size": 11, "hidden": 8, "layers": 2, "heads": 2, "inner": 12, "act": "gelu", "dropout": 0.1},
    **{"longest": 8, "std": 0.02, "pad": 0, "labels": 3},
}
GPT = {"block": 6, "vocab": 11, "layers": 2, "heads": 2, "width": 8, "dropout": 0.1, "bias": False}
FT_TRANSFORMER: dict[str, Any] = {
    **{"numbers": 3, "categories": [4, 3], "d": 8, "heads": 2, "layers": 2, "dropout": 0.1},
}
TEXT_CNN = {
    "words": 9,
    "width": 4,
    "classes": 3,
    "filters": 2,
    "sizes": [2, 3],
    "dropout": 0.2,
    "static": True,
}

CASES: Sequence[Case] = (
    # Images
    case("mnist_mlp", numbers(1, 8, 8)),
    case("mnist_cnn", numbers(1, 12, 12)),
    case("mnist_rnn", numbers(1, 6, 6)),
    case("lenet", DIGIT),
    case("resnet", IMAGE, layers=[1, 2], num_classes=3, zero_init=True),
    case("resnet_bottleneck", IMAGE),
    case("densenet", IMAGE, blocks=[1, 2]),
    case("mobilenet", IMAGE, classes=3, width=0.5),
    case("se_net", IMAGE, widths=[4, 6]),
    case("vgg", IMAGE),
    case("inception", IMAGE, aux=True),
    case("convnext", IMAGE, drop_path=0.2),
    case("unet", numbers(1, 9, 10)),
    case("segmentation", IMAGE),
    case("super_resolution", numbers(1, 5, 5), factor=2),
    case("vit", IMAGE),
    case("mlp_mixer", IMAGE),
    case("transfer_head", IMAGE, classes=3),
    # Text
    case("mini_gpt", integers(11, 6)),
    case("tied_gpt", integers(11, 6), cfg=GPT),
    case("transformer_lm", integers(9, 5), tokens=9, width=8, heads=2, hidden=12, layers=1),
    case("transformer_classifier", integers(9, 5), tokens=9),
    case("bert", integers(11, 5), numbers(5), config=BERT),
    case("rotary_transformer", integers(13, 6), dim=8, heads=4, kv_heads=2),
    case("seq2seq_transformer", integers(7, 5), integers(6, 4), source_size=7, target_size=6),
    case("einsum_attention", numbers(5, 8)),
    case("lstm_lm", integers(7, 5), kind="LSTM", tokens=7, width=4, tied=True),
    case("gru_lm", integers(7, 5), size=7, hidden=4),
    case("tagger", integers(7, 5), words=7, tags=3),
    case(
        "attention_lstm", integers(4, 5), vocabulary=4, width=2, hidden=4, classes=2, vectors=[[0.5, 1.0]] * 4
    ),
    case("text_cnn", integers(9, 7), args=TEXT_CNN),
    case("seq2seq_gru", integers(7, 5), vocabulary=7, size=5),
    # Series
    case("elman", numbers(4, 3), inputs=3, hidden=5, classes=4),
    case("lstm_cells", numbers(4)),
    case("conv_lstm", numbers(3, 1, 4, 4), channels=1, hidden=[2, 3]),
    case("tcn", numbers(2, 8), inputs=2, outputs=3, channels=[4, 4]),
    case("wavenet", numbers(1, 12)),
    case("nbeats", numbers(8)),
    case("dlinear", numbers(8, 2), configs=SERIES),
    case("nlinear", numbers(8, 2), configs=SERIES),
    case("gru_forecaster", numbers(5, 2), inputs=2, horizon=3),
    case("resnet1d", numbers(2, 16), channels=2, filters=4, blocks=4, classes=3),
    # Generative
    case("autoencoder", numbers(12)),
    case("denoising_autoencoder", numbers(1, 8, 8)),
    case("vae", numbers(16)),
    case("gan_generator", numbers(6)),
    case("gan_critic", IMAGE),
    # Reinforcement learning
    case("dueling_q", numbers(5), state=5, actions=3, seed=0),
    case("noisy_q", numbers(4)),
    case("actor_critic", numbers(4)),
    case("gaussian_policy", numbers(4), inputs=4, actions=2, space={"high": 2.0, "low": -1.0}),
    # Recommendation and tables
    case("neumf", integers(5), integers(6), users=5, items=6, factors=3, layers=2, dropout=0.1),
    case("factorization_machine", integers(3, 3), fields=[4, 3, 5]),
    case("deepfm", integers(3, 2), numbers(3), sizes=[4, 3], dense=3),
    case(
        *("wide_deep", integers(5, 3), integers(3, 2), numbers(3)),
        wide=5,
        columns=[["colour", 4, 3], ["shape", 3, 2]],
        numbers=3,
        dropout=[0.1, 0.1],
    ),
    case("afm", integers(3, 3), sizes=[4, 3, 5], rank=4, attention=3, dropouts=[0.2, 0.2]),
    case("dcn", integers(3, 2), numbers(2), sizes=[4, 3], dense=2),
    case("two_tower", integers(4, 2), numbers(3), integers(5, 2), numbers(3), users=4, items=5, features=3),
    case(
        "entity_embeddings", integers(3, 2), numbers(3), cardinalities=[4, 3], n_cont=3, layers=[8, 6], ps=0.1
    ),
    case(
        *("ft_transformer", numbers(3), integers(3, 2)),
        **FT_TRANSFORMER,
        prenormalization=True,
    ),
    case("tabular_resnet", numbers(4), d_in=4, d=6, factor=1.5, layers=2, dropout=0.1),
    case("mmoe", numbers(4), inputs=4, experts=3, size=5, tasks=2),
    case("multi_task", numbers(4), features=4, tasks={"price": 1, "kind": 3}),
    case("sparse_moe", numbers(4), features=4),
    case("kan", numbers(2), sizes=[2, 3, 1]),
    case("mlp_flexible", numbers(4), inputs=4, norm=True, dropout=0.1, activation="leaky"),
    # Sets, graphs and pairs
    case("set_transformer", numbers(5, 3), inputs=3, outputs=2),
    case("deep_sets", numbers(5, 3), size=6),
    case("gcn", numbers(4, 3), numbers(4, 4), features=3, hidden=5, classes=2, dropout=0.2),
    case("gat", numbers(4, 3), numbers(4, 4), features=3, hidden=4, classes=2),
    case("siamese", numbers(5), numbers(5), inputs=5, size=3),
    case("siamese_images", numbers(1, 6, 6), numbers(1, 6, 6)),
    # Science and statistics
    case("highway", numbers(4)),
    case("siren", numbers(2), omega=3.0),
    case("pinn", numbers(2)),
    case("neural_ode", numbers(2), method="rk4"),
    case("quantile_net", numbers(1), quantiles=[0.1, 0.5, 0.9]),
    case("mixture_density", numbers(1)),
    case("gaussian_mlp", numbers(1)),
    case("cox_mlp", numbers(4), inputs=4, nodes=[6, 5], dropout=0.2),
    # What layers keep, freeze and share
    case("lora", numbers(5, 4)),
    case("frozen_backbone", numbers(3, 6, 6)),
    case("selective_scan", numbers(5, 4)),
    case("shifted_windows", IMAGE),
)
