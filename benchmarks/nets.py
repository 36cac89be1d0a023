"""Typical trainings of small and medium size, on which the choice of an engine is calibrated.

Each has the shapes, the batch size and the number of steps that people use, and random data: only the time of
its steps matters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import torch
from torch import Tensor

Json = dict[str, Any]
Draw = Callable[[int], Tensor]  # the tensor of so many rows


@dataclass(frozen=True)
class Net:
    """A training without its data.

    Attributes:
        name: What it is, for the table.
        architecture: The architecture section.
        inputs: Draw the inputs of a number of rows, one for each input of the model.
        targets: Draws the targets.
        rows: Number of training rows; there are a quarter as many for validation.
        training: The training section.
        classes: Number of classes of a classifier's targets.
    """

    name: str
    architecture: Json
    inputs: Sequence[Draw]
    targets: Draw
    rows: int
    training: Json
    classes: int | None = None


def normal(*shape: int) -> Draw:
    """Draw float32 [rows, *shape]."""
    return lambda rows: torch.randn(rows, *shape)


def integers(high: int, *shape: int) -> Draw:
    """Draw int64 [rows, *shape] below `high`."""
    return lambda rows: torch.randint(0, high, (rows, *shape))


def layer(name: str, *sizes: int, **arguments: Any) -> Json:
    """Return a layer; its sizes are those of its first arguments."""
    names = _SIZES.get(name, ())
    return {"type": name, **dict(zip(names, sizes, strict=True)), **arguments}


_SIZES = {
    "Linear": ("out_features",),
    "Conv1d": ("out_channels", "kernel_size"),
    "Conv2d": ("out_channels", "kernel_size"),
    "MaxPool2d": ("kernel_size",),
    "BatchNorm1d": (),
    "BatchNorm2d": (),
    "Embedding": ("num_embeddings", "embedding_dim"),
}


def sequential(*layers: Json) -> Json:
    """Return a sequential."""
    return {"type": "sequential", "layers": [*layers]}


def mlp(*widths: int, act: str = "ReLU", between: Sequence[Json] = ()) -> Json:
    """Return a perceptron of these widths; `between` follows each hidden activation."""
    hidden = [part for width in widths[:-1] for part in (layer("Linear", width), layer(act), *between)]
    return sequential(*hidden, layer("Linear", widths[-1]))


def pasted(source: str, **arguments: Any) -> Json:
    """Return a pasted class."""
    return {"type": "class", "source": dedent(source).strip() + "\n", "arguments": arguments}


def fitting(loss: str | Json, epochs: int, batch_size: int | None, **more: Any) -> Json:
    """Return a training section."""
    section = {"loss": loss, "optimizer": "Adam", "epochs": epochs, "batch_size": batch_size, "seed": 0}
    return {**section, **more}


def regression(name: str, architecture: Json, width: int, rows: int, training: Json, outputs: int = 1) -> Net:
    """Return a regression of `width` features."""
    return Net(name, architecture, [normal(width)], normal(outputs), rows, training)


def classification(name: str, architecture: Json, draw: Draw, classes: int, rows: int, training: Json) -> Net:
    """Return a classification of one input."""
    return Net(name, architecture, [draw], integers(classes), rows, training, classes)


SGD = {"type": "SGD", "lr": 1e-3}
MSE, CROSS_ENTROPY = "MSELoss", "CrossEntropyLoss"


def typical() -> Iterator[Net]:
    """Yield the trainings."""
    yield from _perceptrons()
    yield from _convolutions()
    yield from _sequences()
    yield from _others()


def _perceptrons() -> Iterator[Net]:
    yield regression("linear regression, full batch", mlp(1), 1, 9, fitting(MSE, 3000, None, optimizer=SGD))
    yield regression(
        "thermometer, 13 tanh units", mlp(13, 1, act="Tanh"), 1, 9, fitting(MSE, 3000, None, optimizer=SGD)
    )
    yield classification(
        "logistic regression, label smoothing",
        mlp(10),
        normal(64),
        10,
        1400,
        fitting({"type": CROSS_ENTROPY, "label_smoothing": 0.1}, 20, 32),
    )
    yield classification(
        "digits, 64-128-10", mlp(128, 10), normal(64), 10, 1437, fitting(CROSS_ENTROPY, 20, 32)
    )
    yield classification(
        "digits, 64-1024-10", mlp(1024, 10), normal(64), 10, 1437, fitting(CROSS_ENTROPY, 10, 32)
    )
    yield classification(
        "784-512-512-10, batches of 128",
        mlp(512, 512, 10),
        normal(784),
        10,
        2000,
        fitting(CROSS_ENTROPY, 5, 128, metrics=["accuracy"]),
    )
    yield regression(
        "MLP with dropout and batch norm",
        mlp(64, 32, 1, between=[layer("BatchNorm1d"), layer("Dropout", p=0.2)]),
        20,
        2000,
        fitting(MSE, 40, 64),
    )
    yield regression(
        "MLP with dropout, AdamW, one cycle",
        mlp(128, 128, 1, act="GELU", between=[layer("Dropout", p=0.1)]),
        30,
        2000,
        fitting(
            MSE,
            20,
            64,
            optimizer={"type": "AdamW", "lr": 1e-3},
            scheduler={"type": "OneCycleLR", "max_lr": 1e-2},
        ),
    )
    yield regression("six hidden layers of 64", mlp(*[64] * 6, 1), 20, 1000, fitting(MSE, 30, 32))
    yield regression(
        "MLP with layer norm, plateau schedule",
        mlp(64, 64, 1, act="SiLU", between=[layer("LayerNorm", normalized_shape=64)]),
        12,
        1000,
        fitting(MSE, 30, 32, scheduler={"type": "ReduceLROnPlateau", "patience": 3}),
    )
    yield regression(
        "quantile regression",
        mlp(64, 64, 3),
        8,
        1000,
        fitting({"type": "PinballLoss", "quantiles": [0.1, 0.5, 0.9]}, 30, 32),
    )
    yield regression("autoencoder, 32-8-32", mlp(16, 8, 16, 32), 32, 1000, fitting(MSE, 30, 64), outputs=32)
    yield regression(
        "compute-bound, 2048-2048", mlp(2048, 2048, 10), 64, 512, fitting(MSE, 2, 32), outputs=10
    )


def _convolutions() -> Iterator[Net]:
    lenet = sequential(
        layer("Conv2d", 6, 5, padding=2),
        layer("ReLU"),
        layer("MaxPool2d", 2),
        layer("Conv2d", 16, 5),
        layer("ReLU"),
        layer("MaxPool2d", 2),
        layer("Flatten"),
        layer("Linear", 120),
        layer("ReLU"),
        layer("Linear", 84),
        layer("ReLU"),
        layer("Linear", 10),
    )
    yield classification("LeNet, 28 x 28", lenet, normal(1, 28, 28), 10, 512, fitting(CROSS_ENTROPY, 4, 64))
    small = sequential(
        layer("Conv2d", 16, 3, padding=1),
        layer("BatchNorm2d"),
        layer("ReLU"),
        layer("Conv2d", 32, 3, padding=1),
        layer("BatchNorm2d"),
        layer("ReLU"),
        layer("AdaptiveAvgPool2d", output_size=1),
        layer("Flatten"),
        layer("Dropout", p=0.25),
        layer("Linear", 10),
    )
    yield classification(
        "convolutions with batch norm, 8 x 8", small, normal(1, 8, 8), 10, 1000, fitting(CROSS_ENTROPY, 8, 32)
    )
    yield classification(
        "ResNet, 3 x 16 x 16", pasted(RESNET), normal(3, 16, 16), 10, 256, fitting(CROSS_ENTROPY, 3, 32)
    )
    yield Net(
        "U-Net, 16 x 16",
        pasted(UNET),
        [normal(1, 16, 16)],
        integers(3, 16, 16),
        128,
        fitting(CROSS_ENTROPY, 4, 16),
        3,
    )
    temporal = sequential(
        layer("Conv1d", 16, 3, padding=2, dilation=2),
        layer("ReLU"),
        layer("Conv1d", 16, 3, padding=4, dilation=4),
        layer("ReLU"),
        layer("Flatten"),
        layer("Linear", 1),
    )
    yield Net(
        "dilated convolutions over 48 steps", temporal, [normal(4, 48)], normal(1), 500, fitting(MSE, 10, 32)
    )


def _sequences() -> Iterator[Net]:
    for kind, more in (
        ("LSTM", {}),
        ("GRU", {"bidirectional": True}),
        ("RNN", {"num_layers": 2, "dropout": 0.1}),
    ):
        texts = {"LSTM": "LSTM", "GRU": "GRU, both directions", "RNN": "RNN, two layers, dropout"}
        yield Net(
            f"{texts[kind]}, 24 steps",
            pasted(RECURRENT.replace("KIND", kind), more=more),
            [normal(24, 4)],
            normal(1),
            1000,
            fitting(MSE, 6, 50),
        )
    yield Net(
        "LSTM, 100 steps",
        pasted(RECURRENT.replace("KIND", "LSTM"), more={}),
        [normal(100, 4)],
        normal(1),
        200,
        fitting(MSE, 3, 50),
    )
    yield Net(
        "transformer encoder, 16 tokens",
        pasted(ENCODER),
        [normal(16, 8)],
        normal(1),
        500,
        fitting(MSE, 5, 32),
    )
    yield Net(
        "small GPT, 32 tokens",
        pasted(GPT),
        [integers(50, 32)],
        integers(50, 32),
        256,
        fitting(CROSS_ENTROPY, 3, 16, optimizer={"type": "AdamW", "lr": 3e-4}, gradient_clip_norm=1.0),
        50,
    )
    yield Net(
        "DLinear, 96 to 24 steps", pasted(DLINEAR), [normal(96)], normal(24), 1000, fitting(MSE, 15, 32)
    )


def _others() -> Iterator[Net]:
    yield Net(
        "variational autoencoder",
        pasted(VAE),
        [normal(16)],
        normal(16),
        1000,
        fitting({"type": "expression", "text": VAE_LOSS}, 15, 64),
    )
    yield Net(
        "embeddings of categories",
        pasted(EMBEDDINGS),
        [integers(12, 6)],
        normal(1),
        2000,
        fitting(MSE, 15, 64),
    )
    yield regression("deep and cross network", pasted(CROSS), 16, 1000, fitting(MSE, 20, 64))
    yield Net("deep sets of 10 points", pasted(SETS), [normal(10, 3)], normal(1), 1000, fitting(MSE, 15, 64))
    yield regression("SIREN", pasted(SIREN), 2, 1000, fitting(MSE, 60, 250))
    yield regression(
        "mixture of four experts", pasted(EXPERTS), 16, 1000, fitting(MSE, 15, 64, metrics=["r2_score"])
    )


RESNET = """
    class Block(nn.Module):
        def __init__(self, before, after, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            same = before == after and stride == 1
            self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride)

        def forward(self, x):
            h = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(h)) + self.skip(x))

    class Net(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.stem = nn.Conv2d(3, width, 3, padding=1)
            sizes = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
            self.blocks = nn.Sequential(*[Block(*each) for each in sizes])
            self.head = nn.Linear(4 * width, 10)

        def forward(self, x):
            return self.head(self.blocks(self.stem(x)).mean((2, 3)))
"""
UNET = """
    class Net(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.down = nn.Conv2d(1, width, 3, padding=1)
            self.bottom = nn.Conv2d(width, 2 * width, 3, padding=1)
            self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
            self.out = nn.Conv2d(width, 3, 1)

        def forward(self, x):
            skip = F.relu(self.down(x))
            h = F.relu(self.bottom(F.max_pool2d(skip, 2)))
            return self.out(F.relu(self.merge(torch.cat([skip, self.up(h)], dim=1))))
"""
RECURRENT = """
    class Net(nn.Module):
        def __init__(self, more):
            super().__init__()
            self.rnn = nn.KIND(4, 32, batch_first=True, **more)
            self.out = nn.Linear(64 if more.get("bidirectional") else 32, 1)

        def forward(self, x):
            steps, _ = self.rnn(x)
            return self.out(steps[:, -1])
"""
ENCODER = """
    class Net(nn.Module):
        def __init__(self, width=32):
            super().__init__()
            self.embed = nn.Linear(8, width)
            self.place = nn.Parameter(torch.randn(16, width) * 0.02)
            layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.out = nn.Linear(width, 1)

        def forward(self, x):
            return self.out(self.encoder(self.embed(x) + self.place).mean(1))
"""
GPT = """
    class Attention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x):
            B, T, C = x.shape
            parts = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
            return self.out(y.transpose(1, 2).reshape(B, T, C))

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = Attention(width, heads)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            x = x + self.attention(self.ln1(x))
            return x + self.mlp(self.ln2(x))

    class Net(nn.Module):
        def __init__(self, vocabulary=50, width=48, layers=2, heads=4):
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.place = nn.Parameter(torch.zeros(32, width))
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens):
            x = self.token(tokens) + self.place
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x)).transpose(1, 2)
"""
DLINEAR = """
    class Net(nn.Module):
        def __init__(self, lags=96, horizon=24, kernel=25):
            super().__init__()
            self.kernel = kernel
            self.trend = nn.Linear(lags, horizon)
            self.season = nn.Linear(lags, horizon)

        def forward(self, x):
            padded = F.pad(x.unsqueeze(1), (self.kernel // 2, self.kernel // 2), mode="replicate")
            trend = F.avg_pool1d(padded, self.kernel, stride=1).squeeze(1)
            return self.trend(trend) + self.season(x - trend)
"""
VAE = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(16, 32)
            self.mean, self.log_var = nn.Linear(32, 4), nn.Linear(32, 4)
            self.decode = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16))

        def forward(self, x):
            h = F.relu(self.encode(x))
            mean, log_var = self.mean(h), self.log_var(h)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
            return {"recon": self.decode(z), "mean": mean, "log_var": log_var}
"""
VAE_LOSS = """
kl = -0.5 * (1 + log_var - mean ** 2 - log_var.exp()).sum(1)
return F.mse_loss(recon, target) + 0.01 * kl.mean()
""".strip()
EMBEDDINGS = """
    class Net(nn.Module):
        def __init__(self, columns=6, values=12, width=4):
            super().__init__()
            self.embeddings = nn.ModuleList(nn.Embedding(values, width) for _ in range(columns))
            self.hidden = nn.Linear(columns * width, 32)
            self.mlp = nn.Sequential(self.hidden, nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

        def forward(self, x):
            parts = [embedding(x[:, i]) for i, embedding in enumerate(self.embeddings)]
            return self.mlp(torch.cat(parts, dim=1))
"""
CROSS = """
    class Net(nn.Module):
        def __init__(self, width=16, layers=3):
            super().__init__()
            self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
            self.deep = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
            self.out = nn.Linear(width + 32, 1)

        def forward(self, x):
            h = x
            for layer in self.cross:
                h = x * layer(h) + h
            return self.out(torch.cat([h, self.deep(x)], dim=1))
"""
SETS = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.phi = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
            self.rho = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, x):
            return self.rho(self.phi(x).sum(1))
"""
SIREN = """
    class Net(nn.Module):
        def __init__(self, width=64, layers=3, omega=30.0):
            super().__init__()
            self.omega = omega
            sizes = [2] + [width] * layers
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
            self.out = nn.Linear(width, 1)

        def forward(self, x):
            for layer in self.layers:
                x = torch.sin(self.omega * layer(x))
            return self.out(x)
"""
EXPERTS = """
    class Net(nn.Module):
        def __init__(self, experts=4):
            super().__init__()
            self.gate = nn.Linear(16, experts)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1)) for _ in range(experts)
            )

        def forward(self, x):
            weights = self.gate(x).softmax(dim=1)
            answers = torch.cat([expert(x) for expert in self.experts], dim=1)
            return (weights * answers).sum(1, keepdim=True)
"""
