from collections import OrderedDict
from typing import Dict

from torch import nn


class MultiTask(nn.Module):
    def __init__(self, features: int, tasks: Dict[str, int], hidden: int = 6, activation: str = "elu"):
        super().__init__()
        self.trunk = nn.Sequential(OrderedDict([
            ("fc1", nn.Linear(features, hidden)),
            ("act", {"relu": nn.ReLU, "elu": nn.ELU}[activation]()),
            ("fc2", nn.Linear(hidden, hidden)),
        ]))
        self.heads = nn.ModuleDict()
        for name, size in tasks.items():
            self.heads[name] = nn.Linear(hidden, size)
        for name, parameter in self.trunk.named_parameters():
            if name.startswith("fc2") and name.endswith("bias"):
                parameter.requires_grad_(False)  # frozen

    def forward(self, x):
        h = self.trunk(x)
        return {name: head(h) for name, head in self.heads.items()}
