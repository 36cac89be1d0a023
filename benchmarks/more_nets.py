"""Further trainings: probes, with which the costs of the engines are fitted, and those that were held out."""

from collections.abc import Iterator

from benchmarks.nets import (
    CROSS_ENTROPY,
    MSE,
    Json,
    Net,
    classification,
    fitting,
    integers,
    layer,
    mlp,
    normal,
    pasted,
    regression,
    sequential,
)

MOMENTUM = {"type": "SGD", "lr": 1e-3, "momentum": 0.9}


def probes() -> Iterator[Net]:
    """Yield trainings in which one kind of work is large, for its cost."""
    yield classification(
        "SGD, 64-1024-10",
        mlp(1024, 10),
        normal(64),
        10,
        1437,
        fitting(CROSS_ENTROPY, 5, 32, optimizer=MOMENTUM),
    )
    yield regression(
        "AdamW, 512-512, batches of 256",
        mlp(512, 512, 1),
        32,
        2048,
        fitting(MSE, 8, 256, optimizer={"type": "AdamW", "lr": 1e-3}),
    )
    yield regression(
        "softplus and tanh, 512 wide, batches of 256",
        sequential(
            layer("Linear", 512),
            layer("Softplus"),
            layer("Linear", 64),
            layer("GELU"),
            layer("Linear", 512),
            layer("Tanh"),
            layer("Linear", 1),
        ),
        8,
        2048,
        fitting(MSE, 10, 256),
    )
    yield regression("12 hidden layers of 16", mlp(*[16] * 12, 1, act="Tanh"), 8, 480, fitting(MSE, 20, 16))
    yield regression(
        "R², batches of 256", mlp(256, 256, 1), 20, 2048, fitting(MSE, 20, 256, metrics=["r2_score"])
    )
    yield regression("full batch of 1000", mlp(32, 1, act="Tanh"), 4, 1000, fitting(MSE, 300, None))
    for channels, size, before in ((32, 28, 16), (16, 32, 3), (8, 14, 8), (64, 7, 32), (6, 28, 1)):
        yield classification(
            f"convolution of {before} to {channels} channels, {size} x {size}",
            _classifier(layer("Conv2d", channels, 3, padding=1), layer("ReLU")),
            normal(before, size, size),
            10,
            160,
            fitting(CROSS_ENTROPY, 8, 32),
        )
    yield classification(
        "convolution of 7 x 7",
        _classifier(layer("Conv2d", 8, 7, padding=3), layer("ReLU")),
        normal(4, 16, 16),
        10,
        320,
        fitting(CROSS_ENTROPY, 10, 32),
    )
    yield Net(
        "convolutions of 5 over 128 steps",
        sequential(
            layer("Conv1d", 32, 5, padding=2),
            layer("ReLU"),
            layer("Conv1d", 32, 5, padding=2),
            layer("ReLU"),
            layer("Flatten"),
            layer("Linear", 1),
        ),
        [normal(8, 128)],
        normal(1),
        320,
        fitting(MSE, 8, 32),
    )
    yield _recurrent("LSTM of 64, 12 steps", "LSTM", 8, 64, 12, 480, 32, 8)
    yield _recurrent("GRU of 16, 48 steps", "GRU", 4, 16, 48, 320, 16, 8)
    yield _recurrent("RNN of 32, 40 steps", "RNN", 4, 32, 40, 640, 64, 8)
    yield Net(
        "attention, 32 tokens of 64",
        pasted(ATTENTION, width=64, heads=4, tokens=32),
        [normal(32, 8)],
        normal(1),
        256,
        fitting(MSE, 4, 32),
    )


def held_out() -> Iterator[Net]:
    """Yield trainings whose times took no part in the fit of the costs."""
    yield regression(
        "30-100-50-1, RMSprop", mlp(100, 50, 1), 30, 1000, fitting(MSE, 30, 100, optimizer="RMSprop")
    )
    yield classification(
        "20-256-128-5, SiLU, AdamW",
        mlp(256, 128, 5, act="SiLU"),
        normal(20),
        5,
        1500,
        fitting(CROSS_ENTROPY, 12, 64, optimizer="AdamW", metrics=["accuracy", "f1_score"]),
    )
    yield classification(
        "two convolutions, 12 x 12, momentum",
        sequential(
            layer("Conv2d", 8, 3),
            layer("ReLU"),
            layer("Conv2d", 8, 3),
            layer("ReLU"),
            layer("Flatten"),
            layer("Linear", 4),
        ),
        normal(1, 12, 12),
        4,
        480,
        fitting(CROSS_ENTROPY, 20, 16, optimizer=MOMENTUM),
    )
    yield _recurrent("LSTM of 16, 10 steps", "LSTM", 3, 16, 10, 600, 20, 15)
    yield _recurrent("GRU of 24, two layers, 36 steps", "GRU", 6, 24, 36, 640, 64, 6, num_layers=2)
    yield Net(
        "attention, 8 tokens of 16",
        pasted(ATTENTION, width=16, heads=2, tokens=8),
        [normal(8, 8)],
        normal(1),
        640,
        fitting(MSE, 10, 64),
    )
    yield regression(
        "autoencoder 64-256-64, full batch, NAdam",
        mlp(256, 64, act="ELU"),
        64,
        200,
        fitting(MSE, 200, None, optimizer="NAdam"),
        outputs=64,
    )
    yield classification(
        "convolutions over 64 steps with batch norm",
        sequential(
            layer("Conv1d", 12, 3, padding=1),
            layer("BatchNorm1d"),
            layer("ReLU"),
            layer("Conv1d", 12, 3, padding=1),
            layer("BatchNorm1d"),
            layer("ReLU"),
            layer("Flatten"),
            layer("Linear", 6),
        ),
        normal(3, 64),
        6,
        480,
        fitting(CROSS_ENTROPY, 10, 32),
    )
    yield Net(
        "embeddings and GRU, 20 tokens",
        pasted(TOKENS),
        [integers(100, 20)],
        integers(3),
        480,
        fitting(CROSS_ENTROPY, 8, 32),
        3,
    )
    yield regression("100-1000-1000-1, batches of 256", mlp(1000, 1000, 1), 100, 1024, fitting(MSE, 4, 256))


def _classifier(*layers: Json) -> Json:
    """Return a classifier of ten classes with these layers before the pooling."""
    head = [layer("AdaptiveAvgPool2d", output_size=1), layer("Flatten"), layer("Linear", 10)]
    return sequential(*layers, *head)


def _recurrent(
    name: str,
    kind: str,
    features: int,
    width: int,
    steps: int,
    rows: int,
    batch_size: int,
    epochs: int,
    **more: int,
) -> Net:
    source = RECURRENT.replace("KIND", kind)
    return Net(
        name,
        pasted(source, features=features, width=width, more=more),
        [normal(steps, features)],
        normal(1),
        rows,
        fitting(MSE, epochs, batch_size),
    )


RECURRENT = """
    class Net(nn.Module):
        def __init__(self, features, width, more):
            super().__init__()
            self.rnn = nn.KIND(features, width, batch_first=True, **more)
            self.out = nn.Linear(width, 1)

        def forward(self, x):
            steps, _ = self.rnn(x)
            return self.out(steps[:, -1])
"""
ATTENTION = """
    class Net(nn.Module):
        def __init__(self, width, heads, tokens):
            super().__init__()
            self.embed = nn.Linear(8, width)
            self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)
            self.layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
            self.out = nn.Linear(width, 1)

        def forward(self, x):
            return self.out(self.layer(self.embed(x) + self.place).mean(1))
"""
TOKENS = """
    class Net(nn.Module):
        def __init__(self, vocabulary=100, width=16, classes=3):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.gru = nn.GRU(width, width, batch_first=True)
            self.out = nn.Linear(width, classes)

        def forward(self, tokens):
            _, last = self.gru(self.embedding(tokens))
            return self.out(last[0])
"""
