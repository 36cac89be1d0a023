import math
from dataclasses import dataclass
from typing import Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import einsum


@dataclass
class Args:
    width: int
    state: int = 3
    expand: int = 2
    rank: Union[int, str] = "auto"

    def __post_init__(self):
        self.inner = self.expand * self.width
        if self.rank == "auto":
            self.rank = math.ceil(self.width / 16)


class Scan(nn.Module):
    def __init__(self, args: Args):
        super().__init__()
        self.args = args
        self.enter = nn.Linear(args.width, 2 * args.inner, bias=False)
        self.mix = nn.Conv1d(args.inner, args.inner, 3, groups=args.inner, padding=2)
        self.select = nn.Linear(args.inner, args.rank + 2 * args.state, bias=False)
        self.step = nn.Linear(args.rank, args.inner)
        self.decay = nn.Parameter(torch.log(torch.arange(1, args.state + 1).repeat(args.inner, 1)))
        self.decay._no_weight_decay = True
        self.skip = nn.Parameter(torch.ones(args.inner))
        self.leave = nn.Linear(args.inner, args.width, bias=False)
        low, high = math.log(1e-3), math.log(1e-1)
        dt = torch.exp(torch.rand(args.inner) * (high - low) + low).clamp(min=1e-4)
        with torch.no_grad():
            self.step.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x):
        b, length, _ = x.shape
        x, gate = self.enter(x).split([self.args.inner, self.args.inner], dim=-1)
        x = F.silu(self.mix(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        n = self.decay.shape[1]
        delta, first, second = self.select(x).split(split_size=[self.args.rank, n, n], dim=-1)
        delta = F.softplus(self.step(delta))
        a = torch.exp(einsum("bld,dn->bldn", delta, -torch.exp(self.decay.float())))
        u = einsum("bld,bln,bld->bldn", delta, first, x)
        h, outputs = torch.zeros(b, self.args.inner, n, device=x.device), []
        for i in range(length):
            h = a[:, i] * h + u[:, i]
            outputs.append(einsum("bdn,bn->bd", h, second[:, i, :]))
        y = torch.stack(outputs, dim=1) + x * self.skip
        return self.leave(y * F.silu(gate))


class ScanNet(nn.Module):
    def __init__(self, width=4, depth=2):
        super().__init__()
        args = Args(width)
        self.layers = nn.ModuleList([Scan(args) for _ in range(depth)])
        self.norm = nn.RMSNorm(width)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x) + x
        return self.norm(x)
