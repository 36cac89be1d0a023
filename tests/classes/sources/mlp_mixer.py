import torch
from torch import nn


class Swap(nn.Module):
    def __init__(self, *dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return x.transpose(*self.dims)

    def extra_repr(self):
        return ", ".join(str(d) for d in self.dims)


def feed_forward(dim, hidden, p=0.):
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(p), nn.Linear(hidden, dim))


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.fn = nn.Sequential(*layers)

    def forward(self, x):
        return self.fn(x) + x


class Mixer(nn.Module):
    def __init__(self, image=8, patch=4, channels=3, dim=6, depth=2, classes=3, tokens=5, p=0.1):
        super().__init__()
        assert image % patch == 0, 'the image must be divisible by the patch'
        count = (image // patch) ** 2
        self.embed = nn.Sequential(nn.Conv2d(channels, dim, patch, patch), nn.Flatten(2), Swap(1, 2))
        self.blocks = nn.Sequential(*[
            nn.Sequential(
                Residual(nn.LayerNorm(dim), Swap(1, 2), feed_forward(count, tokens, p), Swap(1, 2)),
                Residual(nn.LayerNorm(dim), feed_forward(dim, 2 * dim, p)),
            )
            for _ in range(depth)
        ])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.embed(x))).mean(dim=1))
