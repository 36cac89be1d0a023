import math
import typing as ty

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as nn_init
from torch import Tensor


def reglu(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return a * F.relu(b)


class Tokenizer(nn.Module):
    category_offsets: ty.Optional[Tensor]

    def __init__(self, numbers: int, categories: ty.Optional[ty.List[int]], d: int) -> None:
        super().__init__()
        if categories is None:
            self.category_offsets = None
            self.embeddings = None
        else:
            offsets = torch.tensor([0] + categories[:-1]).cumsum(0)
            self.register_buffer('category_offsets', offsets)
            self.embeddings = nn.Embedding(sum(categories), d)
            nn_init.kaiming_uniform_(self.embeddings.weight, a=math.sqrt(5))
        self.weight = nn.Parameter(Tensor(numbers + 1, d))  # with the token of the class
        nn_init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x_num: Tensor, x_cat: ty.Optional[Tensor]) -> Tensor:
        some = x_num if x_cat is None else x_cat
        x_num = torch.cat([torch.ones(len(some), 1, device=some.device), x_num], dim=1)
        x = self.weight[None] * x_num[:, :, None]
        if x_cat is not None:
            x = torch.cat([x, self.embeddings(x_cat + self.category_offsets[None])], dim=1)
        return x


class FTTransformer(nn.Module):
    def __init__(self, *, numbers: int, categories: ty.Optional[ty.List[int]], d: int, heads: int, layers: int,
                 dropout: float, prenormalization: bool) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(numbers, categories, d)
        self.layers = nn.ModuleList([])
        for i in range(layers):
            layer = nn.ModuleDict({
                'attention': nn.MultiheadAttention(d, heads, dropout=dropout, batch_first=True),
                'linear0': nn.Linear(d, 2 * d),
                'linear1': nn.Linear(d, d),
                'norm1': nn.LayerNorm(d),
            })
            if not prenormalization or i:
                layer['norm0'] = nn.LayerNorm(d)
            self.layers.append(layer)
        self.prenormalization = prenormalization
        self.dropout = dropout
        self.head = nn.Linear(d, 1)

    def _start(self, x, layer, name):
        return layer[name](x) if self.prenormalization and name in layer else x

    def _end(self, x, residual, layer, name):
        x = x + (F.dropout(residual, self.dropout, self.training) if self.dropout else residual)
        return x if self.prenormalization else layer[name](x)

    def forward(self, x_num: Tensor, x_cat: ty.Optional[Tensor]) -> Tensor:
        x = self.tokenizer(x_num, x_cat)
        for layer in self.layers:
            layer = ty.cast(ty.Dict[str, nn.Module], layer)
            residual = self._start(x, layer, 'norm0')
            residual, _ = layer['attention'](residual, residual, residual, need_weights=False)
            x = self._end(x, residual, layer, 'norm0')
            residual = layer['linear1'](reglu(layer['linear0'](self._start(x, layer, 'norm1'))))
            x = self._end(x, residual, layer, 'norm1')
        return self.head(F.relu(x[:, 0])).squeeze(-1)
