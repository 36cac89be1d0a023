import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parameter import Parameter
from torch.nn.modules.module import Module


class GraphConv(Module):
    """Kipf and Welling (arXiv:1609.02907), with a dense adjacency matrix for each row."""

    def __init__(self, inp, out, bias=True):
        super(GraphConv, self).__init__()
        self.inp, self.out = inp, out
        self.weight = Parameter(torch.FloatTensor(inp, out))
        if bias:
            self.bias = Parameter(torch.FloatTensor(out))
        else:
            self.register_parameter('bias', None)
        self.reset_parameters()

    def reset_parameters(self):
        bound = 1. / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-bound, bound)
        if self.bias is not None:
            self.bias.data.uniform_(-bound, bound)

    def forward(self, x, adj):
        out = torch.bmm(adj, torch.matmul(x, self.weight))
        return out if self.bias is None else out + self.bias

    def __repr__(self):
        return f"{self.__class__.__name__} ({self.inp} -> {self.out})"


class GCN(nn.Module):
    def __init__(self, features, hidden, classes, dropout):
        super().__init__()
        self.gc1, self.gc2 = GraphConv(features, hidden), GraphConv(hidden, classes, bias=False)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=2).transpose(1, 2)
