import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Positions(nn.Module):
    def __init__(self, width, dropout=0.1, longest=32):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        table = torch.zeros(longest, width)
        position = torch.arange(0, longest, dtype=torch.float).unsqueeze(1)
        rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        self.register_buffer('table', table.unsqueeze(0))

    def forward(self, x):
        return self.dropout(x + self.table[:, :x.size(1)])


class TransformerLM(nn.Module):
    def __init__(self, tokens, width, heads, hidden, layers, dropout=0.2):
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(tokens, width)
        self.positions = Positions(width, dropout)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.decoder = nn.Linear(width, tokens)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def square_mask(self, size):
        return torch.log(torch.tril(torch.ones(size, size)))

    def forward(self, source):
        x = self.positions(self.embed(source) * math.sqrt(self.width))
        x = self.encoder(x, mask=self.square_mask(source.size(1)))
        return F.log_softmax(self.decoder(x), dim=-1).permute(0, 2, 1)
