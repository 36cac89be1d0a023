import torch
import torch.nn as nn


def init_relu(layer, draw=lambda w: nn.init.kaiming_normal_(w, nonlinearity='relu')):
    draw(layer.weight.data)
    if layer.bias is not None:
        layer.bias.data.zero_()


class Block(nn.Module):
    def __init__(self, inp, out, norm=True, dropout=0., activation=nn.ReLU, init=init_relu):
        super().__init__()
        self.linear = nn.Linear(inp, out)
        if init:
            init(self.linear)
        self.activation = activation()
        self.norm = nn.BatchNorm1d(out) if norm else None
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x):
        x = self.activation(self.linear(x))
        if self.norm:
            x = self.norm(x)
        if self.dropout:
            x = self.dropout(x)
        return x


class LogHazard(nn.Module):
    def __init__(self, inputs, nodes, dropout=None, activation=nn.SELU):
        super().__init__()
        nodes = [inputs, *nodes]
        if dropout is None or isinstance(dropout, float):
            dropout = [dropout for _ in range(len(nodes) - 1)]
        net = [Block(a, b, True, p, activation) for a, b, p in zip(nodes[:-1], nodes[1:], dropout)]
        self.net = nn.Sequential(*net, nn.Linear(nodes[-1], 1, bias=False))

    def forward(self, x):
        return self.net(x)
