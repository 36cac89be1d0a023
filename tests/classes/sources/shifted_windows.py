import itertools
from functools import lru_cache, partial
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn


class Grid(NamedTuple):
    height: int
    width: int

    @property
    def area(self):
        return self.height * self.width


def windows_of(x: Tensor, size: int) -> Tensor:
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)


def merged(windows: Tensor, size: int, grid: Grid) -> Tensor:
    b = int(windows.shape[0] / (grid.area / size / size))
    x = windows.view(b, grid.height // size, grid.width // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, grid.height, grid.width, -1)


@lru_cache(maxsize=None)
def relative_index(size: int) -> Tensor:
    points = list(itertools.product(range(size), repeat=2))
    rows = [[(a[0] - b[0] + size - 1) * (2 * size - 1) + a[1] - b[1] + size - 1 for b in points] for a in points]
    return torch.tensor(rows)


class WindowBlock(nn.Module):
    def __init__(self, dim, grid: Grid, heads=2, size=2, shift=0, norm_layer=partial(nn.LayerNorm, eps=1e-6)):
        super().__init__()
        self.grid, self.heads, self.size, self.shift = grid, heads, size, shift
        self.norm = norm_layer(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("index", relative_index(size), persistent=False)
        mask: Optional[Tensor] = None
        if shift > 0:
            regions = torch.zeros((1, *grid, 1))
            cuts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
            for count, (h, w) in enumerate(itertools.product(cuts, cuts)):
                regions[:, h, w, :] = count
            mask = windows_of(regions, size).squeeze(-1)
            mask = mask.unsqueeze(1) - mask.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("mask", mask)

    def attend(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.bias_table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).unsqueeze(0)
        if self.mask is not None:
            m = self.mask.shape[0]
            scores = (scores.view(b // m, m, self.heads, n, n) + self.mask[None, :, None]).view(-1, self.heads, n, n)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))

    def forward(self, x):
        h, w = self.grid
        b, length, c = x.shape
        assert length == self.grid.area, "wrong number of patches"
        y = self.norm(x).view(b, h, w, c)
        if self.shift > 0:
            y = torch.roll(y, shifts=(-self.shift, -self.shift), dims=(1, 2))
        y = merged(self.attend(windows_of(y, self.size)), self.size, self.grid)
        if self.shift > 0:
            y = torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2))
        return x + y.view(b, -1, c)

    def extra_repr(self) -> str:
        return f"size={self.size}, shift={self.shift}"


class WindowNet(nn.Module):
    def __init__(self, dim=4, side=8, patch=2, depth=2, classes=3):
        super().__init__()
        grid = Grid(side // patch, width=side // patch)
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.blocks = nn.ModuleList([WindowBlock(dim, grid, shift=i & 1) for i in range(depth)])
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))
