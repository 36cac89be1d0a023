import torch
import torch.nn as nn


class Machine(nn.Module):
    """Rendle, "Factorization Machines", 2010; each field has its own range of the tables."""

    def __init__(self, fields, rank=4):
        super().__init__()
        starts = [0]
        for size in fields[:-1]:
            starts.append(starts[-1] + size)
        self.register_buffer("starts", torch.LongTensor(starts))
        self.first = nn.Embedding(sum(fields), 1)
        self.second = nn.Embedding(sum(fields), rank)
        self.bias = nn.Parameter(torch.zeros((1,)))
        nn.init.xavier_uniform_(self.second.weight.data)

    def forward(self, x):
        x = x + self.starts.unsqueeze(0)
        v = self.second(x)
        pairs = 0.5 * (v.sum(dim=1) ** 2 - (v ** 2).sum(dim=1)).sum(1, keepdim=True)
        return torch.sigmoid((self.bias + self.first(x).sum(1) + pairs).squeeze(1))
