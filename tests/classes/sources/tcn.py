import torch
import torch.nn as nn
from torch.nn.utils.parametrizations import weight_norm


class Chomp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, :-self.size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, inp, out, kernel, dilation, dropout=0.2):
        super().__init__()
        padding = (kernel - 1) * dilation
        self.conv = weight_norm(nn.Conv1d(inp, out, kernel, padding=padding, dilation=dilation))
        self.net = nn.Sequential(self.conv, Chomp(padding), nn.ReLU(), nn.Dropout(dropout))
        self.match = nn.Conv1d(inp, out, 1) if inp != out else None
        self.relu = nn.ReLU()
        self.init_weights()

    def init_weights(self):
        if self.match is not None:
            self.match.weight.data.normal_(0, 0.01)

    def forward(self, x):
        res = x if self.match is None else self.match(x)
        return self.relu(self.net(x) + res)


class TCN(nn.Module):
    def __init__(self, inputs, outputs, channels, kernel=2, dropout=0.1):
        super().__init__()
        layers = []
        for i in range(len(channels)):
            before = inputs if i == 0 else channels[i - 1]
            layers += [TemporalBlock(before, channels[i], kernel, dilation=2 ** i, dropout=dropout)]
        self.tcn = nn.Sequential(*layers)
        self.linear = nn.Linear(channels[-1], outputs)

    def forward(self, x):
        return self.linear(self.tcn(x)[:, :, -1])
