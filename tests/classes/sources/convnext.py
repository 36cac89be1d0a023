import torch
import torch.nn as nn
import torch.nn.functional as F


def stochastic_depth(x, p: float, training: bool):
    if p == 0. or not training:
        return x
    keep = 1 - p
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    mask = torch.rand(shape, dtype=x.dtype, device=x.device).add_(keep).floor_()
    return x.div(keep) * mask


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [B, C, H, W]."""

    def __init__(self, channels, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        var = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(var + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Block(nn.Module):
    def __init__(self, dim, p, scale=1e-2):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.up, self.down = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)
        self.gamma = nn.Parameter(scale * torch.ones(dim), requires_grad=True) if scale > 0 else None
        self.p = p

    def forward(self, x):
        h = self.depthwise(x).permute(0, 2, 3, 1)
        h = self.down(F.gelu(self.up(self.norm(h))))
        if self.gamma is not None:
            h = self.gamma * h
        return x + stochastic_depth(h.permute(0, 3, 1, 2), self.p, self.training)


class ConvNext(nn.Module):
    def __init__(self, depths=(1, 2), dims=(4, 6), classes=3, drop_path=0.0):
        super().__init__()
        rates = [r.item() for r in torch.linspace(0, drop_path, sum(depths))]
        self.down = nn.ModuleList([nn.Sequential(nn.Conv2d(3, dims[0], 2, 2), ChannelNorm(dims[0]))])
        for i in range(len(dims) - 1):
            self.down.append(nn.Sequential(ChannelNorm(dims[i]), nn.Conv2d(dims[i], dims[i + 1], 2, 2)))
        self.stages = nn.ModuleList()
        start = 0
        for dim, depth in zip(dims, depths):
            self.stages.append(nn.Sequential(*(Block(dim, rates[start + j]) for j in range(depth))))
            start += depth
        self.head = nn.Linear(dims[-1], classes)
        self.apply(self._init)
        self.head.weight.data.mul_(0.5)

    def _init(self, m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(m.weight, std=.02)
            nn.init.constant_(m.bias, 0)

    def forward(self, x):
        for down, stage in zip(self.down, self.stages):
            x = stage(down(x))
        return self.head(x.mean([-2, -1]))
