import torch
import torch.nn as nn


def activation_layer(name):
    if isinstance(name, str):
        if name.lower() == 'relu':
            return nn.ReLU(inplace=True)
        elif name.lower() == 'prelu':
            return nn.PReLU()
        raise NotImplementedError
    elif issubclass(name, nn.Module):
        return name()


class DNN(nn.Module):
    def __init__(self, inputs, hidden_units, activation='relu', dropout=0, use_bn=False, device='cpu'):
        super().__init__()
        if len(hidden_units) == 0:
            raise ValueError("hidden_units is empty!!")
        self.use_bn = use_bn
        sizes = [inputs] + list(hidden_units)
        self.linears = nn.ModuleList([nn.Linear(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)])
        if use_bn:
            self.bn = nn.ModuleList([nn.BatchNorm1d(size) for size in sizes[1:]])
        self.acts = nn.ModuleList([activation_layer(activation) for _ in sizes[1:]])
        self.dropout = nn.Dropout(dropout)
        for name, tensor in self.linears.named_parameters():
            if 'weight' in name:
                nn.init.normal_(tensor, mean=0, std=0.1)
        self.to(device)

    def forward(self, x):
        for i in range(len(self.linears)):
            x = self.linears[i](x)
            if self.use_bn:
                x = self.bn[i](x)
            x = self.dropout(self.acts[i](x))
        return x


class DeepFM(nn.Module):
    def __init__(self, sizes, dense, rank=3, hidden=(8, 6), use_fm=True):
        super().__init__()
        self.embeddings = nn.ModuleDict({'C' + str(i): nn.Embedding(size, rank) for i, size in enumerate(sizes)})
        self.linear = nn.ModuleDict({'C' + str(i): nn.Embedding(size, 1) for i, size in enumerate(sizes)})
        self.weight = nn.Parameter(torch.Tensor(dense, 1))
        torch.nn.init.normal_(self.weight, mean=0, std=0.1)
        self.use_fm = use_fm
        self.dnn = DNN(len(sizes) * rank + dense, hidden, dropout=0.1, use_bn=True)
        self.out = nn.Linear(hidden[-1], 1, bias=False)

    def forward(self, sparse, dense):
        fields = [table(sparse[:, i]) for i, table in enumerate(self.embeddings.values())]
        logit = torch.stack([self.linear[name](sparse[:, i]) for i, name in enumerate(self.linear)], dim=1).sum(dim=1)
        logit = logit + dense.matmul(self.weight)
        if self.use_fm and len(fields) > 0:
            stacked = torch.stack(fields, dim=1)
            cross = torch.pow(torch.sum(stacked, dim=1), 2) - torch.sum(stacked * stacked, dim=1)
            logit += 0.5 * torch.sum(cross, dim=1, keepdim=True)
        logit += self.out(self.dnn(torch.cat(fields + [dense], dim=-1)))
        return torch.sigmoid(logit)
