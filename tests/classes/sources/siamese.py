import torch
import torch.nn as nn
import torch.nn.functional as F


class Twin(nn.Module):
    def __init__(self, inputs=5, size=4):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(inputs, 8), nn.PReLU(), nn.Linear(8, size))

    def forward(self, x):
        return self.fc(x)


class UnitTwin(Twin):
    def forward(self, x):
        output = super(UnitTwin, self).forward(x)
        return output / output.pow(2).sum(1, keepdim=True).sqrt()


class Siamese(nn.Module):
    def __init__(self, twin=UnitTwin, **kwargs):
        super().__init__()
        self.twin = twin(**kwargs)
        self.twin.apply(self.init)

    def init(self, m):
        if type(m) == nn.Linear:
            torch.nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward(self, a, b):
        return F.pairwise_distance(self.twin(a), self.twin(b))
