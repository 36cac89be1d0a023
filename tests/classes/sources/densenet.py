import torch
from torch import nn


class _DenseLayer(nn.Module):
    def __init__(self, channels, growth, rate):
        super(_DenseLayer, self).__init__()
        self.add_module('norm', nn.BatchNorm2d(channels))
        self.add_module('relu', nn.ReLU(inplace=True))
        self.add_module('conv', nn.Conv2d(channels, growth, kernel_size=3, padding=1, bias=False))
        self.rate = float(rate)

    def forward(self, *features):
        new = self.conv(self.relu(self.norm(torch.cat(features, 1))))
        if self.rate > 0:
            new = nn.functional.dropout(new, p=self.rate, training=self.training)
        return new


class _DenseBlock(nn.ModuleDict):
    def __init__(self, count, channels, growth, rate):
        super().__init__()
        for i in range(count):
            self.add_module('layer%d' % (i + 1), _DenseLayer(channels + i * growth, growth, rate))

    def forward(self, start):
        features = [start]
        for name, layer in self.items():
            features.append(layer(*features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    def __init__(self, blocks, growth=3, classes=4, rate=0.1):
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential()
        self.features.add_module('stem', nn.Conv2d(3, channels, 3, padding=1))
        for i, count in enumerate(blocks):
            self.features.add_module(f'block{i}', _DenseBlock(count, channels, growth, rate))
            channels += count * growth
            if i < len(blocks) - 1:
                half = channels // 2
                self.features.add_module(f'squeeze{i}', nn.Sequential(nn.Conv2d(channels, half, 1), nn.AvgPool2d(2)))
                channels = half
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        out = self.features(x).relu_()
        out = nn.functional.adaptive_avg_pool2d(out, (1, 1)).flatten(1)
        return self.classifier(out)
