import torch
from torch import nn, einsum


class Attend(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x, mask=None):
        b, n, _, h = *x.shape, self.heads
        q, k, v = map(lambda t: t.reshape(b, n, h, -1).transpose(1, 2), self.to_qkv(x).chunk(3, dim=-1))
        energy = einsum('b h i d, b h j d -> b h i j', q, k) * self.scale
        if mask is not None:
            energy = energy.masked_fill(~mask, -torch.finfo(energy.dtype).max)
        out = einsum('b h i j, b h j d -> b h i d', energy.softmax(dim=-1), v)
        return self.out(out.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, width=8, heads=2, depth=2, longest=8, device="cpu"):
        super().__init__()
        self.device = device
        self.position = nn.Embedding(longest, width)
        self.layers = nn.ModuleList([])
        for _ in range(depth):
            self.layers.append(nn.ModuleList([nn.LayerNorm(width), Attend(width, heads)]))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        mask = (x.abs().sum(-1) != 0)[:, None, None, :].to(self.device)
        positions = torch.arange(0, x.shape[1]).expand(x.shape[0], -1).to(self.device)
        x = x + self.position(positions)
        for norm, attend in self.layers:
            x = attend(norm(x), mask=mask) + x
        return self.head(x.mean(dim=1))
