import torch
from torch import nn


class Classifier(nn.Module):
    """Mean of the outputs of PyTorch's encoder, without padding."""

    def __init__(self, tokens, width=8, heads=2, classes=2, pad=0):
        super().__init__()
        self.pad = pad
        self.embed = nn.Embedding(tokens, width, padding_idx=pad)
        self.pos = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.layers = nn.ModuleList([
            nn.TransformerEncoderLayer(width, heads, dim_feedforward=12, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        ])
        self.out = nn.Linear(width, classes)

    def forward(self, ids):
        keep = (ids != self.pad).unsqueeze(-1).float()
        x = self.embed(ids) + self.pos[:, : ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        pooled = (x * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1.0)
        return self.out(pooled)
