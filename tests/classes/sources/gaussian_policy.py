import torch
import torch.nn as nn
import torch.nn.functional as F

LOG_STD_MIN, LOG_STD_MAX = -20, 2


def init_weights(m):
    if isinstance(m, nn.Linear):
        torch.nn.init.xavier_uniform_(m.weight, gain=1)
        torch.nn.init.constant_(m.bias, 0)


class Policy(nn.Module):
    def __init__(self, inputs, actions, hidden=8, space=None):
        super(Policy, self).__init__()
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.mean, self.log_std = nn.Linear(hidden, actions), nn.Linear(hidden, actions)
        self.apply(init_weights)
        if space is None:
            self.scale, self.shift = torch.tensor(1.), torch.tensor(0.)
        else:
            self.scale = torch.FloatTensor([(space.high - space.low) / 2.])
            self.shift = torch.FloatTensor([(space.high + space.low) / 2.])

    def forward(self, state):
        x = self.body(state)
        log_std = torch.clamp(self.log_std(x), min=LOG_STD_MIN, max=LOG_STD_MAX)
        return {"mean": torch.tanh(self.mean(x)) * self.scale + self.shift, "log_std": log_std}

    def to(self, device):
        self.scale = self.scale.to(device)
        self.shift = self.shift.to(device)
        return super(Policy, self).to(device)
