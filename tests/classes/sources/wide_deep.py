from typing import Dict, List, Optional, Tuple

import torch
import torch.nn as nn


class Deep(nn.Module):
    def __init__(self, columns: List[Tuple[str, int, int]], numbers: int, hidden: List[int],
                 dropout: Optional[List[float]] = None):
        super().__init__()
        self.tables = nn.ModuleDict({"emb_" + name: nn.Embedding(rows, size) for name, rows, size in columns})
        self.positions: Dict[str, int] = {name: i for i, (name, _, _) in enumerate(columns)}
        width = sum([column[2] for column in columns])
        dims = [width + numbers] + hidden
        dropout = dropout or [0.0] * len(hidden)
        self.dense = nn.Sequential()
        for i in range(1, len(dims)):
            self.dense.add_module(
                "dense_{}".format(i - 1),
                nn.Sequential(nn.Linear(dims[i - 1], dims[i]), nn.LeakyReLU(inplace=True), nn.Dropout(dropout[i - 1])),
            )
        self.dense.add_module("last", nn.Linear(hidden[-1], 1))

    def forward(self, categories, numbers):
        found = [self.tables["emb_" + name](categories[:, i]) for name, i in self.positions.items()]
        return self.dense(torch.cat([torch.cat(found, 1), numbers], 1))


class WideDeep(nn.Module):
    def __init__(self, wide: int, columns, numbers: int, hidden=[8, 4], dropout=None):
        super(WideDeep, self).__init__()
        self.wide = nn.Embedding(wide + 1, 1, padding_idx=0)  # 0 is a gap
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.kaiming_uniform_(self.wide.weight, a=5 ** 0.5)
        self.deep = Deep(columns, numbers, hidden, dropout)

    def forward(self, crossed, categories, numbers):
        out = self.wide(crossed.long()).sum(dim=1) + self.bias
        out.add_(self.deep(categories, numbers))
        return out
