import math
from functools import partial

import torch
from torch import nn


class Patches(nn.Module):
    def __init__(self, size, patch, channels, dim):
        super().__init__()
        self.count = (size // patch) ** 2
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)  # [B, count, dim]


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, bias=True, drop=0.):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=bias)
        self.drop = nn.Dropout(drop)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = self.drop(((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads, ratio=2, drop=0., norm=nn.LayerNorm):
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.attention = SelfAttention(dim, heads, drop=drop)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Dropout(drop), nn.Linear(ratio * dim, dim))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, size=8, patch=4, channels=3, classes=3, dim=8, depth=2, heads=2, drop=0.1):
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patches = Patches(size, patch, channels, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.zeros(1, 1 + self.patches.count, dim))
        self.drop = nn.Dropout(p=drop)
        self.blocks = nn.ModuleList([EncoderBlock(dim, heads, drop=drop, norm=norm) for _ in range(depth)])
        self.norm = norm(dim)
        self.head = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.pos, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-2)

    def forward(self, x):
        x = self.patches(x)
        token = self.cls_token.expand(x.shape[0], -1, -1)
        x = self.drop(torch.cat((token, x), dim=1) + self.pos)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
