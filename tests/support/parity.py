"""Architectures as JSON, each with the equal module written by hand."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Json = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """An architecture and the equal module.

    Attributes:
        spec: The architecture as JSON.
        script: Builds the module as a script would.
        shapes: Shapes of the inputs, batch dimension first.
        integers: Inputs are integers from 0 to 4 instead of floats.
    """

    spec: Json
    script: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    integers: bool = False

    def inputs(self) -> list[Tensor]:
        """Return random inputs of these shapes."""
        torch.manual_seed(2)
        return [torch.randint(0, 5, shape) if self.integers else torch.randn(shape) for shape in self.shapes]


def layer(type_name: str, **arguments: Any) -> Json:
    """Return a layer."""
    return {"type": type_name, **arguments}


def linear(outputs: int, **more: Any) -> Json:
    """Return a `Linear` without `in_features`."""
    return layer("Linear", out_features=outputs, **more)


def sequential(*layers: Json) -> Json:
    """Return a sequential of layers."""
    return {"type": "sequential", "layers": list(layers)}


def module(class_name: str, forward: str, submodules: Json, **more: Any) -> Json:
    """Return a module with a forward text."""
    named = {"class_name": class_name, "submodules": submodules}
    return {"type": "module", **named, "forward": forward, **more}


class SubclassModel(nn.Module):
    """Two linear layers and an activation as submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_linear = nn.Linear(1, 13)
        self.hidden_activation = nn.Tanh()
        self.output_linear = nn.Linear(13, 1)

    def forward(self, input: Tensor) -> Any:
        """[B, 1] → [B, 1]."""
        hidden_t = self.hidden_linear(input)
        activated_t = self.hidden_activation(hidden_t)
        output_t = self.output_linear(activated_t)
        return output_t


SUBCLASS_FORWARD = """    def forward(self,input):
        hidden_t = self.hidden_linear(input)
        activated_t = self.hidden_activation(hidden_t)
        output_t = self.output_linear(activated_t)
        return output_t
"""


class SubclassFunctionalModel(nn.Module):
    """Two linear layers and a functional activation."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_linear = nn.Linear(1, 14)
        self.output_linear = nn.Linear(14, 1)

    def forward(self, input: Tensor) -> Any:
        """[B, 1] → [B, 1]."""
        hidden_t = self.hidden_linear(input)
        activated_t = torch.tanh(hidden_t)
        output_t = self.output_linear(activated_t)

        return output_t


FUNCTIONAL_FORWARD = """hidden_t = self.hidden_linear(input)
        activated_t = torch.tanh(hidden_t) # <2>
        output_t = self.output_linear(activated_t)

        return output_t
"""


class Residual(nn.Module):
    """A residual connection around two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.skip = nn.Conv2d(2, 4, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        """[B, 2, H, W] → [B, 3]."""
        h = F.relu(self.norm1(self.conv1(x)))
        h = self.conv2(h)
        h += self.skip(x)
        return self.fc(torch.relu(h).mean(dim=(2, 3)))


class LstmClassifier(nn.Module):
    """A linear layer on the last hidden state of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        """[B, T, 3] → [B, 2]."""
        _, (h, _) = self.lstm(x)
        return self.out(h[-1])


class GruClassifier(nn.Module):
    """A linear layer on the mean output of a bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, bidirectional=True, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        """[B, T, 3] → [B, 2]."""
        steps, _ = self.gru(x)
        return self.out(steps.mean(1))


class TiedAutoencoder(nn.Module):
    """An encoder and a decoder that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 3)
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Any:
        """[B, 6] → [B, 6]."""
        return F.linear(torch.sigmoid(self.encoder(x)), self.encoder.weight.t(), self.bias)


class TiedLanguage(nn.Module):
    """A language model whose output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(5, 4)
        self.body = nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Any:
        """[B, T] int64 → [B, 5]."""
        h = self.body(self.emb(tokens)).mean(dim=1)
        return F.linear(h, self.emb.weight)


class TwoTower(nn.Module):
    """Two inputs, encoded separately and combined by a product."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.item = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, user: Tensor, item: Tensor) -> Any:
        """[B, 3], [B, 2] → [B, 1]."""
        return (self.user(user) * self.item(item)).sum(dim=-1, keepdim=True) * self.scale


class Attention(nn.Module):
    """Causal self-attention with two heads, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        """[B, T, 8] → [B, 1]."""
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)  # [B, 2, T, d / 2] each
        scores = q @ k.transpose(-2, -1) / (d // 2) ** 0.5  # [B, 2, T, T]
        mask = torch.triu(torch.ones(t, t, dtype=torch.bool), diagonal=1)
        weights = torch.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(*x.shape[:2], -1)  # [B, T, d]
        return self.out(mixed[:, -1])


class Siamese(nn.Module):
    """One submodule, called for both inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(3, 4)
        self.out = nn.Linear(8, 1)

    def forward(self, a: Tensor, b: Tensor) -> Any:
        """[B, 3], [B, 3] → [B, 1]."""
        return self.out(torch.cat([self.tower(a), self.tower(b)], dim=1))


class Multihead(nn.Module):
    """`MultiheadAttention` with a residual connection and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        """[B, T, 8] → [B, 1]."""
        seen, _ = self.attention(x, x, x, need_weights=False)
        return self.out(self.norm(x + seen)[:, 0])


class Block(nn.Module):
    """A residual block of `Nested`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        """[B, 4] → [B, 4]."""
        return x + F.gelu(self.fc(x))


class Nested(nn.Module):
    """Modules in a sequential in a module."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Any:
        """[B, 4] → [B, 1]."""
        return self.out(self.blocks(x))


BLOCK = module("Block", "return x + F.gelu(self.fc(x))", {"fc": linear(4)})


class Dropped(nn.Module):
    """Functional dropout, which depends on `self.training`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        """[B, 4] → [B, 1]."""
        return self.out(F.dropout(F.relu(self.fc(x)), p=0.5, training=self.training))


class Gated(nn.Module):
    """Chunks, a comparison and a reduction."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Any:
        """[B, 4] → [B, 1]."""
        value, gate = self.fc(x).chunk(2, dim=-1)
        passed = torch.where(gate > 0, value, -value * 0.1)
        return passed.amax(dim=1, keepdim=True) + (x**2).sum(1)[:, None]


def activation(name: str) -> Pair:
    """Return a multilayer perceptron with one activation."""
    return Pair(
        sequential(linear(6), layer(name), linear(1)),
        lambda: nn.Sequential(nn.Linear(3, 6), getattr(nn, name)(), nn.Linear(6, 1)),
        ((4, 3),),
    )


def norm(name: str, shape: tuple[int, ...], script: Callable[[], nn.Module], **arguments: Any) -> Pair:
    """Return a norm followed by a linear layer."""
    return Pair(
        sequential(layer(name, **arguments), layer("Flatten"), linear(1)),
        lambda: nn.Sequential(script(), nn.Flatten(), nn.Linear(torch.Size(shape[1:]).numel(), 1)),
        (shape,),
    )


ENCODER = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
ACTIVATIONS = (
    *("ReLU", "Tanh", "Sigmoid", "Hardtanh", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
    *("Softplus", "Softsign", "PReLU", "ReLU6", "Hardswish", "LogSigmoid", "Tanhshrink"),
)
IMAGE = (2, 4, 6, 6)

PAIRS: dict[str, Pair] = {
    "subclass": Pair(
        module(
            "SubclassModel",
            SUBCLASS_FORWARD,
            {"hidden_linear": linear(13), "hidden_activation": layer("Tanh"), "output_linear": linear(1)},
        ),
        SubclassModel,
        ((11, 1),),
    ),
    "subclass functional": Pair(
        module(
            "SubclassFunctionalModel",
            FUNCTIONAL_FORWARD,
            {"hidden_linear": linear(14), "output_linear": linear(1)},
        ),
        SubclassFunctionalModel,
        ((11, 1),),
    ),
    "named sequential": Pair(
        sequential(
            linear(8, name="hidden_linear"),
            layer("Tanh", name="hidden_activation"),
            linear(1, name="output_linear"),
        ),
        lambda: nn.Sequential(
            OrderedDict(
                hidden_linear=nn.Linear(1, 8), hidden_activation=nn.Tanh(), output_linear=nn.Linear(8, 1)
            )
        ),
        ((11, 1),),
    ),
    **{f"mlp {name}": activation(name) for name in ACTIVATIONS},
    "cnn": Pair(
        sequential(
            layer("Conv2d", out_channels=3, kernel_size=3, padding="same"),
            layer("BatchNorm2d"),
            layer("ReLU"),
            layer("MaxPool2d", kernel_size=2),
            layer("Flatten"),
            layer("Dropout", p=0.25),
            linear(10),
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding="same"),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(48, 10),
        ),
        ((4, 1, 8, 8),),
    ),
    "convolution over time": Pair(
        sequential(
            layer("Conv1d", out_channels=4, kernel_size=3),
            layer("AdaptiveAvgPool1d", output_size=1),
            layer("Flatten"),
            linear(1),
        ),
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 1)),
        ((3, 2, 9),),
    ),
    "convolutional autoencoder": Pair(
        sequential(
            layer("Conv2d", out_channels=4, kernel_size=2, stride=2),
            layer("ReLU"),
            layer("ConvTranspose2d", out_channels=1, kernel_size=2, stride=2),
            layer("Sigmoid"),
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, stride=2), nn.Sigmoid()
        ),
        ((3, 1, 6, 6),),
    ),
    "embedding bag": Pair(
        sequential(layer("EmbeddingBag", num_embeddings=5, embedding_dim=4, mode="mean"), linear(1)),
        lambda: nn.Sequential(nn.EmbeddingBag(5, 4, mode="mean"), nn.Linear(4, 1)),
        ((3, 6),),
        integers=True,
    ),
    "embedding": Pair(
        sequential(layer("Embedding", num_embeddings=5, embedding_dim=4), layer("Flatten"), linear(2)),
        lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(24, 2)),
        ((3, 6),),
        integers=True,
    ),
    "transformer encoder": Pair(
        sequential(
            layer(
                "TransformerEncoder",
                encoder_layer=layer("TransformerEncoderLayer", **ENCODER),
                num_layers=2,
            ),
            layer("Flatten"),
            linear(1),
        ),
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
            nn.Flatten(),
            nn.Linear(40, 1),
        ),
        ((3, 5, 8),),
    ),
    "batch norm": norm("BatchNorm1d", (4, 3), lambda: nn.BatchNorm1d(3)),
    "layer norm": norm("LayerNorm", (4, 3), lambda: nn.LayerNorm(3)),
    "rms norm": norm("RMSNorm", (4, 3), lambda: nn.RMSNorm(3)),
    "group norm": norm("GroupNorm", IMAGE, lambda: nn.GroupNorm(2, 4), num_groups=2),
    "instance norm": norm("InstanceNorm2d", IMAGE, lambda: nn.InstanceNorm2d(4, affine=True), affine=True),
    "local response norm": norm("LocalResponseNorm", IMAGE, lambda: nn.LocalResponseNorm(2), size=2),
    "residual": Pair(
        module(
            "Residual",
            """h = F.relu(self.norm1(self.conv1(x)))
            h = self.conv2(h)
            h += self.skip(x)
            return self.fc(torch.relu(h).mean(dim=(2, 3)))""",
            {
                "conv1": layer("Conv2d", out_channels=4, kernel_size=3, padding=1),
                "norm1": layer("BatchNorm2d"),
                "conv2": layer("Conv2d", out_channels=4, kernel_size=3, padding=1),
                "skip": layer("Conv2d", out_channels=4, kernel_size=1),
                "fc": linear(3),
            },
        ),
        Residual,
        ((2, 2, 6, 6),),
    ),
    "lstm": Pair(
        module(
            "LstmClassifier",
            "_, (h, _) = self.lstm(x)\nreturn self.out(h[-1])",
            {"lstm": layer("LSTM", hidden_size=5, batch_first=True), "out": linear(2)},
        ),
        LstmClassifier,
        ((4, 7, 3),),
    ),
    "gru": Pair(
        module(
            "GruClassifier",
            "steps, _ = self.gru(x)\nreturn self.out(steps.mean(1))",
            {"gru": layer("GRU", hidden_size=4, bidirectional=True, batch_first=True), "out": linear(2)},
        ),
        GruClassifier,
        ((4, 7, 3),),
    ),
    "tied autoencoder": Pair(
        module(
            "TiedAutoencoder",
            "return F.linear(torch.sigmoid(self.encoder(x)), self.encoder.weight.t(), self.bias)",
            {"encoder": linear(3)},
            parameters={"bias": {"shape": [6], "init": "zeros_"}},
        ),
        TiedAutoencoder,
        ((4, 6),),
    ),
    "tied language model": Pair(
        module(
            "TiedLanguage",
            """
            # the output layer is the embedding
            h = self.body(self.emb(tokens)).mean(dim=1)
            return F.linear(h, self.emb.weight)
            """,
            {"emb": layer("Embedding", num_embeddings=5, embedding_dim=4), "body": linear(4)},
        ),
        TiedLanguage,
        ((3, 6),),
        integers=True,
    ),
    "two towers": Pair(
        module(
            "TwoTower",
            "return (self.user(user) * self.item(item)).sum(dim=-1, keepdim=True) * self.scale",
            {"user": sequential(linear(4), layer("ReLU")), "item": sequential(linear(4), layer("ReLU"))},
            parameters={"scale": {"shape": [1], "init": "ones_"}},
            inputs=["user", "item"],
        ),
        TwoTower,
        ((4, 3), (4, 2)),
    ),
    "attention by hand": Pair(
        module(
            "Attention",
            """
            b, t, d = x.shape
            q, k, v = self.qkv(x).reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-2, -1) / (d // 2) ** 0.5
            mask = torch.triu(torch.ones(t, t, dtype=torch.bool), diagonal=1)
            weights = torch.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
            mixed = (weights @ v).transpose(1, 2).reshape(*x.shape[:2], -1)
            return self.out(mixed[:, -1])
            """,
            {"qkv": linear(24), "out": linear(1)},
        ),
        Attention,
        ((2, 5, 8),),
    ),
    "siamese": Pair(
        module(
            "Siamese",
            "def forward(self, a, b):\n    return self.out(torch.cat([self.tower(a), self.tower(b)], dim=1))",
            {"tower": linear(4), "out": linear(1)},
        ),
        Siamese,
        ((4, 3), (4, 3)),
    ),
    "multi-head attention": Pair(
        module(
            "Multihead",
            """
            seen, _ = self.attention(x, x, x, need_weights=False)
            return self.out(self.norm(x + seen)[:, 0])
            """,
            {
                "attention": layer("MultiheadAttention", embed_dim=8, num_heads=2, batch_first=True),
                "norm": layer("LayerNorm"),
                "out": linear(1),
            },
        ),
        Multihead,
        ((2, 5, 8),),
    ),
    "nested": Pair(
        module(
            "Nested",
            "return self.out(self.blocks(x))",
            {"blocks": sequential(BLOCK, BLOCK), "out": linear(1)},
        ),
        Nested,
        ((3, 4),),
    ),
    "dropped": Pair(
        module(
            "Dropped",
            "return self.out(F.dropout(F.relu(self.fc(x)), p=0.5, training=self.training))",
            {"fc": linear(8), "out": linear(1)},
        ),
        Dropped,
        ((3, 4),),
    ),
    "gated": Pair(
        module(
            "Gated",
            """
            value, gate = self.fc(x).chunk(2, dim=-1)
            passed = torch.where(gate > 0, value, -value * 0.1)
            return passed.amax(dim=1, keepdim=True) + (x ** 2).sum(1)[:, None]
            """,
            {"fc": linear(8)},
        ),
        Gated,
        ((3, 4),),
    ),
}
