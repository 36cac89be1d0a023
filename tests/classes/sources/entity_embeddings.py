import torch
import torch.nn as nn


def size_for(n):
    "About the fourth root, at least 2."
    return min(50, max(2, round(1.6 * n ** 0.56)))


class Tabular(nn.Module):
    def __init__(self, sizes, n_cont, layers, ps=None, y_range=None, use_bn=True):
        super().__init__()
        ps = [0] * len(layers) if ps is None else ps
        if not isinstance(ps, list): ps = [ps] * len(layers)
        self.embeds = nn.ModuleList([nn.Embedding(n, d) for n, d in sizes])
        self.bn_cont = nn.BatchNorm1d(n_cont)
        n_emb = sum(e.embedding_dim for e in self.embeds)
        self.n_emb, self.n_cont, self.y_range = n_emb, n_cont, y_range
        parts = []
        for i, (a, b, p) in enumerate(zip([n_emb + n_cont] + layers[:-1], layers, ps)):
            parts += self.group(a, b, use_bn and i != 0, p)
        self.layers = nn.Sequential(*parts, nn.Linear(layers[-1], 1))
        for emb in self.embeds: emb.weight.data.uniform_(-0.05, 0.05)

    def group(self, a, b, bn=True, p=0.):
        layers = [nn.BatchNorm1d(a)] if bn else []
        if p != 0: layers.append(nn.Dropout(p))
        return layers + [nn.Linear(a, b), nn.ReLU(inplace=True)]

    def forward(self, x_cat, x_cont):
        if self.n_emb != 0:
            x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.embeds)], 1)
        if self.n_cont != 0:
            x_cont = self.bn_cont(x_cont)
            x = torch.cat([x, x_cont], 1) if self.n_emb != 0 else x_cont
        x = self.layers(x)
        if self.y_range is not None:
            low, high = self.y_range
            x = (high - low) * torch.sigmoid(x) + low
        return x


class Sales(Tabular):
    def __init__(self, cardinalities, n_cont, **kwargs):
        super().__init__([(n, size_for(n)) for n in cardinalities], n_cont, **kwargs)
