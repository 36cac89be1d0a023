import torch
import torch.nn as nn


class MLP(nn.Module):
    def __init__(self, inp, out, hidden, last=None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(inp, hidden), nn.Linear(hidden, out)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.2)
        self.last = last

    def forward(self, x):
        out = self.fc2(self.dropout(self.relu(self.fc1(x))))
        return out if self.last is None else self.last(out)


class MMoE(nn.Module):
    """Ma et al., KDD 2018: a gate for each task over shared experts."""

    def __init__(self, inputs, experts, size, tasks):
        super().__init__()
        self.size = size
        self.softmax = nn.Softmax(dim=1)
        self.experts = nn.ModuleList([MLP(inputs, size, 5) for _ in range(experts)])
        self.gates = nn.ParameterList([nn.Parameter(torch.randn(inputs, experts), requires_grad=True) for _ in range(tasks)])
        self.towers = nn.ModuleList([MLP(size, 1, 4, nn.Sigmoid()) for _ in range(tasks)])

    def forward(self, x):
        experts = torch.stack([e(x) for e in self.experts])  # [experts, B, size]
        gates = [self.softmax(x @ g) for g in self.gates]
        mixed = [(g.t().unsqueeze(2).expand(-1, -1, self.size) * experts).sum(dim=0) for g in gates]
        return [tower(m) for tower, m in zip(self.towers, mixed)]
