import torch
import torch.nn as nn


class Quantiles(nn.Module):
    def __init__(self,
                 quantiles,
                 inputs=1,
                 dropout=0.2):
        super().__init__()
        self.quantiles, self.num_quantiles = quantiles, len(quantiles)
        self.inputs, self.dropout = inputs, dropout
        self.build_model()
        self.init_weights()

    def build_model(self):
        self.base = nn.Sequential(nn.Linear(self.inputs, 8), nn.ReLU(), nn.Dropout(self.dropout))
        self.final = nn.ModuleList([nn.Linear(8, 1) for _ in range(self.num_quantiles)])

    def init_weights(self):
        for m in [*self.base, *self.final]:
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight)
                nn.init.constant_(m.bias, 0)

    def forward(self, x):
        h = self.base(x)
        return torch.cat([layer(h) for layer in self.final], dim=1)
