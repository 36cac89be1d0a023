import torch
import torch.nn as nn
import torch.nn.functional as F


class GraphAttention(nn.Module):
    """Veličković et al. (arXiv:1710.10903), for a batch of dense graphs."""

    def __init__(self, inp, out, dropout, alpha, concat=True):
        super().__init__()
        self.inp, self.out, self.dropout, self.concat = inp, out, dropout, concat
        self.W = nn.Parameter(torch.empty(size=(inp, out)))
        nn.init.xavier_uniform_(self.W.data, gain=1.414)
        self.a = nn.Parameter(torch.empty(size=(2 * out, 1)))
        nn.init.xavier_uniform_(self.a.data, gain=1.414)
        self.leaky = nn.LeakyReLU(alpha)

    def forward(self, h, adj):
        Wh = torch.matmul(h, self.W)
        e = self.leaky(torch.matmul(Wh, self.a[:self.out, :]) + torch.matmul(Wh, self.a[self.out:, :]).mT)
        attention = F.softmax(torch.where(adj > 0, e, -9e15 * torch.ones_like(e)), dim=-1)
        attention = F.dropout(attention, self.dropout, training=self.training)
        mixed = torch.matmul(attention, Wh)
        if self.concat:
            return F.elu(mixed)
        else:
            return mixed

    def extra_repr(self) -> str:
        return f'{self.inp} -> {self.out}'


class GAT(nn.Module):
    def __init__(self, features, hidden, classes, dropout=0.2, alpha=0.2, heads=2):
        super().__init__()
        self.dropout = dropout
        self.attentions = [GraphAttention(features, hidden, dropout, alpha) for _ in range(heads)]
        for i, attention in enumerate(self.attentions):
            self.add_module('attention_{}'.format(i), attention)
        self.last = GraphAttention(hidden * heads, classes, dropout=dropout, alpha=alpha, concat=False)

    def forward(self, x, adj):
        x = F.dropout(x, self.dropout, training=self.training)
        x = torch.cat([att(x, adj) for att in self.attentions], dim=2)
        return F.elu(self.last(x, adj)).mean(1)
