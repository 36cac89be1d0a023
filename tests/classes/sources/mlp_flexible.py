from typing import Callable, Optional, Sequence, Union

import torch
from torch import nn


class MLP(nn.Module):
    activations = dict(relu=nn.ReLU, tanh=nn.Tanh, leaky=lambda: nn.LeakyReLU(0.1))

    def __init__(self, inputs: int, hidden: Union[int, Sequence[int]] = (8, 6), outputs: int = 1, *,
                 activation: Union[str, Callable[..., nn.Module]] = "relu", norm: bool = False,
                 dropout: Optional[float] = None):
        super().__init__()
        if isinstance(hidden, int):
            hidden = [hidden]
        make = self.activations[activation] if isinstance(activation, str) else activation
        self.body = nn.Sequential()
        for i, (a, b) in enumerate(zip([inputs, *hidden[:-1]], hidden)):
            self.body.add_module(f"linear{i}", nn.Linear(a, b))
            if norm:
                self.body.add_module(f"norm{i}", nn.BatchNorm1d(b))
            self.body.add_module(f"act{i}", make())
            if dropout is not None and 0 < dropout < 1:
                self.body.add_module(f"drop{i}", nn.Dropout(dropout))
        self.out = nn.Linear(hidden[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(x))

    @classmethod
    def small(cls, inputs):
        return cls(inputs, 4)
