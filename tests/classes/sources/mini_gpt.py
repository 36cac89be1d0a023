"""A decoder-only transformer."""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F


@dataclass
class Config:
    vocabulary: int = 11
    context: int = 6
    layers: int = 2
    heads: int = 2
    width: int = 8
    dropout: float = 0.1


class CausalAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert config.width % config.heads == 0
        self.attn = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.drop = nn.Dropout(config.dropout)
        mask = torch.tril(torch.ones(config.context, config.context))
        self.register_buffer("mask", mask.view(1, 1, config.context, config.context))
        self.heads = config.heads
        self.width = config.width

    def split_heads(self, x):
        B, T, C = x.size()
        return x.view(B, T, self.heads, C // self.heads).transpose(1, 2)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = map(self.split_heads, self.attn(x).split(self.width, dim=2))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.mask[:, :, :T, :T] == 0, float('-inf'))
        att = self.drop(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.drop(self.proj(y))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = CausalAttention(config)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = nn.ModuleDict(dict(
            up=nn.Linear(config.width, 4 * config.width),
            act=nn.GELU(approximate="tanh"),
            down=nn.Linear(4 * config.width, config.width),
        ))
        m = self.mlp
        self.run_mlp = lambda x: m.down(m.act(m.up(x)))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.run_mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, layers=None):
        super().__init__()
        config = Config() if layers is None else Config(layers=layers)
        self.config = config
        self.transformer = nn.ModuleDict(dict(
            tokens=nn.Embedding(config.vocabulary, config.width),
            positions=nn.Embedding(config.context, config.width),
            drop=nn.Dropout(config.dropout),
            blocks=nn.ModuleList([Block(config) for _ in range(config.layers)]),
            norm=nn.LayerNorm(config.width),
        ))
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.apply(self._init_weights)
        # the projections of the residual stream start smaller
        for name, p in self.named_parameters():
            if name.endswith('proj.weight'):
                torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * config.layers))
        self.size = sum(p.numel() for p in self.transformer.parameters())

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                torch.nn.init.zeros_(module.bias)

    def forward(self, tokens):
        b, t = tokens.size()
        assert t <= self.config.context, f"a sequence of {t} tokens, the context has {self.config.context}"
        pos = torch.arange(0, t, dtype=torch.long, device=tokens.device).unsqueeze(0)
        x = self.transformer.drop(self.transformer.tokens(tokens) + self.transformer.positions(pos))
        for block in self.transformer.blocks:
            x = block(x)
        return self.head(self.transformer.norm(x)).transpose(1, 2)  # [B, vocabulary, T]
