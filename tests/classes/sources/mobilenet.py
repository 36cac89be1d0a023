import torch
from torch import nn


def divisible(value, divisor=4, least=None):
    if least is None:
        least = divisor
    rounded = max(least, int(value + divisor / 2) // divisor * divisor)
    # never lose more than a tenth
    if rounded < 0.9 * value:
        rounded += divisor
    return rounded


class ConvNorm(nn.Sequential):
    def __init__(self, inp, out, kernel=3, stride=1, groups=1):
        super().__init__(
            nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU6(inplace=True),
        )


class Inverted(nn.Module):
    def __init__(self, inp, out, stride, ratio):
        super().__init__()
        assert stride in [1, 2], f"a stride of {stride}"
        wide = int(round(inp * ratio))
        self.residual = stride == 1 and inp == out
        layers = [] if ratio == 1 else [ConvNorm(inp, wide, kernel=1)]
        layers.extend([
            ConvNorm(wide, wide, stride=stride, groups=wide),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        ])
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self, classes, width=1.0, setting=None):
        super().__init__()
        if setting is None:
            setting = [[1, 8, 1, 1], [2, 12, 2, 2]]  # ratio, channels, repeats, stride
        if len(setting) == 0 or len(setting[0]) != 4:
            raise ValueError("setting should hold lists of 4 numbers, got {}".format(setting))
        channels = divisible(8 * width)
        features = [ConvNorm(3, channels, stride=2)]
        for t, c, n, s in setting:
            out = divisible(c * width)
            for i in range(n):
                features.append(Inverted(channels, out, s if i == 0 else 1, ratio=t))
                channels = out
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = x.mean([2, 3])
        return self.classifier(x)
