import torch
from torch import nn


class Branches(nn.Module):
    def __init__(self, inp, n1, n3, n5, pool):
        super().__init__()
        self.b1 = nn.Conv2d(inp, n1, 1)
        self.b3 = nn.Sequential(nn.Conv2d(inp, n3 // 2, 1), nn.ELU(), nn.Conv2d(n3 // 2, n3, 3, padding=1))
        self.b5 = nn.Sequential(nn.Conv2d(inp, n5 // 2, 1), nn.ELU(), nn.Conv2d(n5 // 2, n5, 5, padding=2))
        self.bp = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(inp, pool, 1))

    def forward(self, x):
        return torch.cat([getattr(self, 'b' + kind)(x) for kind in '135p' if hasattr(self, 'b' + kind)], dim=1)


class Inception(nn.Module):
    def __init__(self, classes=3, aux=False):
        super().__init__()
        self.a = Branches(3, 2, 4, 2, 2)
        self.b = Branches(10, 2, 4, 2, 2)
        self.fc = nn.Linear(10, classes)
        if aux:
            self.aux = nn.Linear(10, classes)

    def forward(self, x):
        h = self.b(self.a(x)).mean((-2, -1))
        if hasattr(self, 'aux') and self.training:
            return self.fc(h) + 0.3 * self.aux(h)
        return self.fc(h)
