import torch
import torch.nn as nn


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction=4):
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(
            nn.Linear(channels, max(channels // reduction, 1)), nn.ReLU(),
            nn.Linear(max(channels // reduction, 1), channels), nn.Sigmoid())

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.squeeze(x).view(b, c)
        y = self.excite(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class SENet(nn.Module):
    def __init__(self, widths, classes=3, reduction=2):
        super().__init__()
        self.convs, self.gates = nn.ModuleList(), nn.ModuleList()
        for inp, out in zip([3, *widths], widths):
            self.convs.append(nn.Conv2d(inp, out, 3, padding=1))
            self.gates.append(SqueezeExcite(out, reduction))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        for conv, gate in zip(self.convs, self.gates):
            x = gate(torch.relu(conv(x)))
        return self.fc(x.amax(dim=[2, 3]))
