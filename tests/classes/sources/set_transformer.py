import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class MAB(nn.Module):
    def __init__(self, q, kv, size, heads, ln=False):
        super().__init__()
        self.size, self.heads = size, heads
        self.fc_q, self.fc_k, self.fc_v = nn.Linear(q, size), nn.Linear(kv, size), nn.Linear(kv, size)
        if ln:
            self.ln = nn.LayerNorm(size)
        self.fc_o = nn.Linear(size, size)

    def forward(self, X, Y):
        split = self.size // self.heads
        Q, K, V = (torch.cat(fc(each).split(split, 2), 0) for fc, each in
                   ((self.fc_q, X), (self.fc_k, Y), (self.fc_v, Y)))
        A = torch.softmax(Q.bmm(K.transpose(1, 2)) / math.sqrt(self.size), 2)
        O = torch.cat((Q + A.bmm(V)).split(X.size(0), 0), 2)
        O = O if getattr(self, 'ln', None) is None else self.ln(O)
        return O + F.relu(self.fc_o(O))


class ISAB(nn.Module):
    def __init__(self, inp, size, heads, points, ln=False):
        super().__init__()
        self.I = nn.Parameter(torch.Tensor(1, points, size))
        nn.init.xavier_uniform_(self.I)
        self.mab0 = MAB(size, inp, size, heads, ln)
        self.mab1 = MAB(inp, size, size, heads, ln=ln)

    def forward(self, X):
        return self.mab1(X, self.mab0(self.I.repeat(X.size(0), 1, 1), X))


class SetTransformer(nn.Module):
    def __init__(self, inputs, outputs, size=6, heads=2, points=3, ln=True):
        super().__init__()
        self.enc = nn.Sequential(ISAB(inputs, size, heads, points, ln=ln), ISAB(size, size, heads, points, ln=ln))
        self.seed = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, size)))
        self.pool = MAB(size, size, size, heads, ln=ln)
        self.out = nn.Linear(size, outputs)

    def forward(self, X):
        Z = self.enc(X)
        return self.out(self.pool(self.seed.expand(X.shape[0], -1, -1), Z)).squeeze(1)
