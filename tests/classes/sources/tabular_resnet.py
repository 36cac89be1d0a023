import typing as ty

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class TabularResNet(nn.Module):
    def __init__(self, *, d_in: int, d: int, factor: float, layers: int, activation: str = 'relu',
                 normalization: str = 'batchnorm', dropout: float) -> None:
        super().__init__()

        def make_norm():
            return {'batchnorm': nn.BatchNorm1d, 'layernorm': nn.LayerNorm}[normalization](d)

        self.activation = {'relu': F.relu, 'gelu': F.gelu}[activation]
        hidden = int(d * factor)
        self.first = nn.Linear(d_in, d)
        self.layers = nn.ModuleList([
            nn.ModuleDict({'norm': make_norm(), 'linear0': nn.Linear(d, hidden), 'linear1': nn.Linear(hidden, d)})
            for _ in range(layers)
        ])
        self.norm = make_norm()
        self.head = nn.Linear(d, 1)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            layer = ty.cast(ty.Dict[str, nn.Module], layer)
            z = self.activation(layer['linear0'](layer['norm'](x)))
            if self.dropout:
                z = F.dropout(z, self.dropout, self.training)
            x = x + layer['linear1'](z)
        return self.head(self.activation(self.norm(x)))
