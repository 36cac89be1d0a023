import torch
import torch.nn as nn
import torch.nn.functional as F


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return self._norm(x.float()).type_as(x) * self.weight


def angles(dim: int, end: int, theta: float = 10000.0):
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    table = torch.outer(torch.arange(end), freqs).float()
    return torch.cos(table), torch.sin(table)


def rotate(x, cos, sin):
    even, odd = x.reshape(x.shape[:-1] + (-1, 2)).unbind(-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(3)


def repeat_kv(x, n):
    b, t, heads, size = x.shape
    if n == 1:
        return x
    return x[:, :, :, None, :].expand(b, t, heads, n, size).reshape(b, t, heads * n, size)


class Attention(nn.Module):
    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        assert heads % kv_heads == 0
        self.heads, self.kv_heads, self.repeats, self.size = heads, kv_heads, heads // kv_heads, dim // heads
        self.wq = nn.Linear(dim, heads * self.size, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.size, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.size, bias=False)
        self.wo = nn.Linear(heads * self.size, dim, bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q = rotate(self.wq(x).view(b, t, self.heads, self.size), cos, sin)
        k = rotate(self.wk(x).view(b, t, self.kv_heads, self.size), cos, sin)
        v = self.wv(x).view(b, t, self.kv_heads, self.size)
        k, v = repeat_kv(k, self.repeats), repeat_kv(v, self.repeats)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(out.transpose(1, 2).contiguous().view(b, t, -1))


class Block(nn.Module):
    def __init__(self, layer: int, *, dim: int, heads: int, kv_heads: int, eps: float = 1e-5):
        super().__init__()
        self.layer = layer
        self.attention = Attention(dim, heads, kv_heads)
        hidden = 4 * ((int(8 * dim / 3) + 3) // 4)
        self.w1, self.w2, self.w3 = (nn.Linear(*s, bias=False) for s in ((dim, hidden), (hidden, dim), (dim, hidden)))
        self.norm1, self.norm2 = RMSNorm(dim, eps), RMSNorm(dim, eps=eps)

    def forward(self, x, cos, sin):
        x = x + self.attention.forward(self.norm1(x), cos, sin)
        h = self.norm2(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class Decoder(nn.Module):
    def __init__(self, vocabulary: int = 13, longest: int = 8, layers: int = 2, **kwargs):
        super().__init__()
        dim = kwargs["dim"]
        self.embed = nn.Embedding(vocabulary, dim)
        self.layers = torch.nn.ModuleList()
        for n in range(layers):
            self.layers.append(Block(n, **kwargs))
        self.output = nn.Linear(dim, vocabulary, bias=False)
        cos, sin = angles(dim // kwargs["heads"], longest)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, length = tokens.shape
        h = self.embed(tokens)
        for layer in self.layers:
            h = layer(h, self.cos[:length], self.sin[:length])
        return self.output(h[:, -1, :])
