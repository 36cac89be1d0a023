import torch
import torch.nn as nn
import torch.nn.functional as F


class Norm(nn.Module):
    """LayerNorm whose bias is optional."""

    def __init__(self, size, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Layer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.fused = hasattr(torch.nn.functional, 'scaled_dot_product_attention')
        if not self.fused:
            self.register_buffer("causal", torch.ones(cfg.block, cfg.block).tril())
        self.cfg = cfg
        self.norm1, self.norm2 = Norm(cfg.width, cfg.bias), Norm(cfg.width, cfg.bias)
        self.qkv = nn.Linear(cfg.width, 3 * cfg.width, bias=cfg.bias)
        self.out = nn.Linear(cfg.width, cfg.width, bias=cfg.bias)
        self.mlp = nn.Sequential(nn.Linear(cfg.width, 16, bias=cfg.bias), nn.GELU(), nn.Linear(16, cfg.width, bias=cfg.bias))

    def attend(self, x):
        B, T, C = x.shape
        heads = [each.view(B, T, self.cfg.heads, -1).transpose(1, 2) for each in self.qkv(x).chunk(3, dim=-1)]
        y = F.scaled_dot_product_attention(*heads, attn_mask=None,
                                           dropout_p=self.cfg.dropout if self.training else 0, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LanguageModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.vocab, cfg.width)
        self.position = nn.Embedding(cfg.block, cfg.width)
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.layers))
        self.norm = Norm(cfg.width, cfg.bias)
        self.head = nn.Linear(cfg.width, cfg.vocab, bias=False)
        self.embed.weight = self.head.weight  # tied

    def forward(self, idx, targets=None):
        T = idx.size(1)
        x = self.embed(idx) + self.position(torch.arange(T, device=idx.device))
        for layer in self.layers:
            x = layer(x)
        logits = self.head(self.norm(x))
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
