import torch
import torch.nn as nn
from torch.nn import functional as F


class Router(nn.Module):
    def __init__(self, width, experts, k):
        super().__init__()
        self.k = k
        self.scores, self.noise = nn.Linear(width, experts), nn.Linear(width, experts)

    def forward(self, x):
        logits = self.scores(x)
        if self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(self.noise(x))
        top, chosen = logits.topk(self.k, dim=-1)
        gates = torch.full_like(logits, float('-inf')).scatter(-1, chosen, top)
        return F.softmax(gates, dim=-1), chosen


class SparseMoE(nn.Module):
    def __init__(self, features: int, width: int = 4, experts: int = 3, k: int = 2):
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.router = Router(width, experts, k)
        self.experts = nn.ModuleList([
            nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)) for _ in range(experts)
        ])
        self.head = nn.Linear(width, 1)

        def init(m):
            if isinstance(m, (nn.Linear)):
                nn.init.kaiming_normal_(m.weight)

        self.apply(init)

    def forward(self, x):
        x = self.embed(x)
        gates, chosen = self.router(x)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            mask = (chosen == i).any(dim=-1, keepdim=True)
            out += torch.where(mask, gates[..., i:i + 1] * expert(x), torch.zeros_like(x))
        return self.head(x + out)
