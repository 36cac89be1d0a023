import math

import torch
from torch import nn

ACTIVATIONS = {"gelu": nn.functional.gelu, "relu": nn.functional.relu}


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden, padding_idx=config.pad)
        self.positions = nn.Embedding(config.longest, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.get("eps", 1e-12))
        self.register_buffer("ids", torch.arange(config.longest).expand((1, -1)), persistent=False)

    def forward(self, tokens):
        out = self.words(tokens)
        out += self.positions(self.ids[:, :tokens.size(1)])
        return self.norm(out)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        if config.hidden % config.heads != 0:
            raise ValueError(f"The hidden size {config.hidden} is not a multiple of {config.heads}")
        self.heads = config.heads
        self.size = int(config.hidden / config.heads)
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(config.hidden, config.hidden))
        self.dropout = nn.Dropout(config.dropout)

    def separate(self, x):
        return x.view(*(x.size()[:-1] + (self.heads, self.size))).permute(0, 2, 1, 3)

    def forward(self, x, mask=None):
        q, k, v = self.separate(self.query(x)), self.separate(self.key(x)), self.separate(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size)
        if mask is not None:
            scores = scores + mask
        context = torch.matmul(self.dropout(nn.Softmax(dim=-1)(scores)), v)
        context = context.permute(0, 2, 1, 3).contiguous()
        return context.view(context.size()[:-2] + (self.heads * self.size,))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = Attention(config)
        self.norm = nn.LayerNorm(config.hidden)
        self.up = nn.Linear(config.hidden, config.inner)
        self.act = ACTIVATIONS[config.act] if isinstance(config.act, str) else config.act
        self.down = nn.Linear(config.inner, config.hidden)

    def forward(self, x, mask):
        x = self.norm(x + self.attention(x, mask))
        return x + self.down(self.act(self.up(x)))


class TextClassifier(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.pooler = nn.Sequential(nn.Linear(config.hidden, config.hidden), nn.Tanh())
        self.classifier = nn.Linear(config.hidden, config.labels)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=self.config.std)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.config.std)
            if module.padding_idx is not None:
                module.weight.data[module.padding_idx].zero_()

    def forward(self, tokens, attention_mask):
        mask = (1.0 - attention_mask[:, None, None, :]) * -1e4
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(self.pooler(x[:, 0]))
