import torch
import torch.nn as nn


class Highway(nn.Module):
    def __init__(self, size, layers=2, f=torch.relu):
        super().__init__()
        self.plain, self.gates = (nn.ModuleList([nn.Linear(size, size) for _ in range(layers)]) for _ in range(2))
        for gate in self.gates:
            gate.bias.data.fill_(-2.)  # most passes unchanged at first
        self.f = f

    def forward(self, x):
        """y = σ(T(x)) ⊙ f(H(x)) + (1 − σ(T(x))) ⊙ x"""
        for plain, gate in zip(self.plain, self.gates):
            t = torch.sigmoid(gate(x))
            x = t * self.f(plain(x)) + (1 - t) * x
        return x


class Net(nn.Module):
    def __init__(self, features=4, size=6):
        super().__init__()
        self.first, self.highway, self.last = nn.Linear(features, size), Highway(size), nn.Linear(size, 1)

    def forward(self, x):
        return self.last(self.highway(self.first(x)))
