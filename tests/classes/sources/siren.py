import math
from collections import OrderedDict

import torch
from torch import nn


class Sine(nn.Module):
    def __init__(self, inp, out, first=False, omega=30.):
        super().__init__()
        self.omega, self.first = omega, first
        self.linear = nn.Linear(inp, out)
        with torch.no_grad():
            bound = 1 / inp if first else math.sqrt(6 / inp) / omega
            self.linear.weight.uniform_(-bound, bound)

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))

    def with_activations(self, x):
        seen = OrderedDict()
        seen['_'.join((str(self.__class__), "%d" % 0))] = x.retain_grad()
        return seen


class Siren(nn.Module):
    """Sitzmann et al. (arXiv:2006.09661)."""

    def __init__(self, inp=2, hidden=8, layers=1, out=1, linear_end=True, omega=30.):
        super().__init__()
        self.net = []
        self.net.append(Sine(inp, hidden, first=True, omega=omega))
        for _ in range(layers):
            self.net.append(Sine(hidden, hidden, omega=omega))
        self.net.append(nn.Linear(hidden, out) if linear_end else Sine(hidden, out, omega=omega))
        self.net = nn.Sequential(*self.net)

    def forward(self, coordinates):
        return self.net(coordinates)
