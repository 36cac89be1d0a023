import math

import torch
from torch import nn


class NoisyLinear(nn.Module):
    """Fortunato et al., "Noisy Networks for Exploration" (arXiv:1706.10295)."""

    def __init__(self, inp, out, sigma=0.5):
        super().__init__()
        self.inp, self.out = inp, out
        self.mu = nn.Parameter(torch.Tensor(out, inp))
        self.sigma = nn.Parameter(torch.Tensor(out, inp))
        self.bias = nn.Parameter(torch.zeros(out))
        bound = 1 / math.sqrt(inp)
        self.mu.data.uniform_(-bound, bound)
        self.sigma.data.fill_(sigma / math.sqrt(inp))

    @staticmethod
    def scaled(size):
        x = torch.randn(size)
        return x.sign().mul(x.abs().sqrt())

    def forward(self, x):
        if not self.training:
            return nn.functional.linear(x, self.mu, self.bias)
        noise = torch.outer(self.scaled(self.out), self.scaled(self.inp))
        return nn.functional.linear(x, self.mu + self.sigma * noise, self.bias)

    def __repr__(self):
        return self.__class__.__name__ + '(' + str(self.inp) + ' -> ' + str(self.out) + ')'


class NoisyQ(nn.Module):
    def __init__(self, state=4, actions=2, hidden=8):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(state, hidden), nn.ReLU(), NoisyLinear(hidden, actions))

    def forward(self, x):
        return self.net(x)
