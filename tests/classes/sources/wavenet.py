import torch
import torch.nn as nn
import torch.nn.functional as F


class Causal(nn.Conv1d):
    """A convolution that sees no later steps."""

    def __init__(self, inp, out, kernel, dilation=1, **kwargs):
        super().__init__(inp, out, kernel, dilation=dilation, **kwargs)
        self.left = (kernel - 1) * dilation

    def forward(self, x):
        return super().forward(F.pad(x, (self.left, 0)))


class Gated(nn.Module):
    def __init__(self, channels, skip, dilation):
        super().__init__()
        self.filter, self.gate = [Causal(channels, channels, 2, dilation=dilation) for _ in range(2)]
        self.out = nn.Conv1d(channels, channels + skip, 1)
        self.sizes = (channels, skip)

    def forward(self, x):
        z = torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))
        residual, skip = self.out(z).split(self.sizes, dim=1)
        return x + residual, skip


class WaveNet(nn.Module):
    def __init__(self, layers=3, blocks=2, channels=4, skip=5, classes=3):
        super().__init__()
        self.start = Causal(1, channels, 2)
        self.layers = nn.ModuleList([Gated(channels, skip, 2 ** i) for _ in range(blocks) for i in range(layers)])
        self.end = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, classes, kernel_size=1))

    @property
    def receptive_field(self):
        return 1 + sum(layer.filter.left for layer in self.layers)

    def forward(self, x):
        assert self.receptive_field > 1
        x, total = self.start(x), 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return self.end(total)
