import copy
import math

import torch
from torch import nn
from torch.nn import functional as F


class Adapted(nn.Module):
    """A frozen layer with a trained low-rank change; other attributes are those of the layer."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float = 1.0):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scaling = alpha / rank

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.down), self.up) * self.scaling


def adapt(module, rank, names):
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear) and name in names:
            setattr(module, name, Adapted(child, rank))
        else:
            adapt(child, rank, names)
    return module


class Normed(nn.Linear):
    def reset_parameters(self):
        g = torch.Generator().manual_seed(7)
        nn.init.trunc_normal_(self.weight, std=0.1, generator=g)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.q, self.k, self.v = (Normed(d, d) for _ in range(3))

    def forward(self, x):
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


class LoRANet(nn.Module):
    def __init__(self, d=4, depth=2, rank=2, targets=("q", "v")):
        super().__init__()
        block = Attention(d)
        self.blocks = nn.ModuleList([copy.deepcopy(block) for _ in range(depth)])
        adapt(self, rank, targets)
        self.head = nn.Linear(self.blocks[0].q.out_features, 2)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))
