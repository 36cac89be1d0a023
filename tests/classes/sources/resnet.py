from typing import Callable, List, Optional, Type

import torch
import torch.nn as nn
from torch import Tensor


def conv3x3(inp: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inp, out, 3, stride=stride, padding=1, bias=False)


class Unit(nn.Module):
    growth: int = 1

    def __init__(self, inp, planes, stride=1, norm: Optional[Callable[..., nn.Module]] = None) -> None:
        super().__init__()
        if norm is None:
            norm = nn.BatchNorm2d
        self.body = nn.Sequential(
            conv3x3(inp, planes, stride), norm(planes), nn.ReLU(inplace=True),
            conv3x3(planes, planes), norm(planes),
        )
        # an empty Sequential passes its input on
        self.skip = nn.Sequential()
        if stride != 1 or inp != self.growth * planes:
            self.skip = nn.Sequential(nn.Conv2d(inp, self.growth * planes, 1, stride, bias=False), norm(planes))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.skip(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, layers: List[int], width: int = 4, num_classes: int = 10, block: Type[Unit] = Unit,
                 zero_init: bool = False):
        super().__init__()
        self.inplanes = width
        self.stem = nn.Sequential(conv3x3(3, width), nn.BatchNorm2d(width), nn.ReLU())
        stages = [self._stage(block, width * 2 ** i, n, stride=1 if i == 0 else 2) for i, n in enumerate(layers)]
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.inplanes, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
        if zero_init:
            for m in self.modules():
                if isinstance(m, Unit):
                    nn.init.zeros_(m.body[-1].weight)

    def _stage(self, block, planes, count, stride):
        units = []
        for s in [stride] + [1] * (count - 1):
            units.append(block(self.inplanes, planes, s))
            self.inplanes = planes * block.growth
        return nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        x = torch.flatten(self.pool(x), 1)
        return self.fc(x)
