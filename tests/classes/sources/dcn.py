import torch
from torch import nn


class CrossNetwork(nn.Module):
    """Wang et al. (arXiv:2008.13535): x_{l+1} = x_0 * (W x_l + b) + x_l, W of full or low rank."""

    def __init__(self, size, layers, rank=None):
        super().__init__()
        self.layers = layers
        if rank is None:
            self.w = nn.ParameterList([nn.Parameter(torch.empty(size, size)) for _ in range(layers)])
        else:
            self.u = nn.ParameterList([nn.Parameter(torch.empty(size, rank)) for _ in range(layers)])
            self.v = nn.ParameterList([nn.Parameter(torch.empty(rank, size)) for _ in range(layers)])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(size)) for _ in range(layers)])
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.xavier_normal_(p)

    def forward(self, x0):
        x = x0
        for i in range(self.layers):
            xw = x @ self.w[i].T if hasattr(self, "w") else (x @ self.v[i].T) @ self.u[i].T
            x = x0 * (xw + self.b[i]) + x
        return x


class DCN(nn.Module):
    def __init__(self, sizes, dense, rank=2, width=3):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n in sizes)
        total = len(sizes) * width + dense
        self.cross = CrossNetwork(total, 2, rank)
        self.deep = nn.Sequential(nn.Linear(total, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU())
        self.out = nn.Linear(total + 4, 1)

    def forward(self, categories, numbers):
        fields = [t(categories[..., i]) for i, t in enumerate(self.tables)]
        x = torch.hstack([*fields, numbers])
        return self.out(torch.cat([self.cross(x), self.deep(x)], -1))
