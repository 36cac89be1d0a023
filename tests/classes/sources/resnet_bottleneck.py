import torch.nn as nn
import torch.nn.functional as F


class Narrow(nn.Module):
    expansion = 2

    def __init__(self, channels, mid, groups=1):
        super().__init__()
        out = mid * self.expansion
        self.reduce = nn.Conv2d(channels, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv = nn.Conv2d(mid, mid, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.expand = nn.Conv2d(mid, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.reduce(x)), inplace=True)
        y = F.relu(self.bn2(self.conv(y)), inplace=True)
        return F.relu(self.bn3(self.expand(y)).add_(identity))


class BottleneckNet(nn.Module):
    def __init__(self, widths=(2, 4), classes=5, groups=2):
        super().__init__()
        blocks, channels = [], 3
        for width in widths:
            blocks += [Narrow(channels, width, groups)]
            channels = width * Narrow.expansion
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        for block in self.blocks:
            x = F.avg_pool2d(block(x), 2)
        return self.head(x.mean(dim=(2, 3)))
