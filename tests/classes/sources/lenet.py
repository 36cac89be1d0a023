from collections import OrderedDict

import torch
import torch.nn as nn


class LeNet(nn.Module):
    # after LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998
    def __init__(self, n_classes: int = 10, in_channels: int = 1):
        nn.Module.__init__(self)
        self.features = nn.Sequential(OrderedDict([
            ('c1', nn.Conv2d(in_channels, 3, 5, padding=2)),
            ('tanh1', nn.Tanh()),
            ('s2', nn.AvgPool2d(2)),
            ('c3', nn.Conv2d(3, 8, 5)),
            ('tanh3', nn.Tanh()),
            ('s4', nn.AvgPool2d(2)),
        ]))
        self.classifier = nn.Sequential(OrderedDict(
            f5=nn.Linear(8 * 2 * 2, 20), tanh5=nn.Tanh(), f6=nn.Linear(20, n_classes)
        ))

    def forward(self, x):
        h = self.features(x)
        h = h.view(-1, self.num_flat_features(h))
        return self.classifier(h)

    def num_flat_features(self, x):
        n = 1
        for s in x.size()[1:]:
            n *= s
        return n
