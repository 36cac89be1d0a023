import torch
import torch.nn as nn
import torch.nn.functional as F


class DuelingQ(nn.Module):
    def __init__(self, state, actions, seed, fc1=12, fc2=10):
        """seed is kept for the log."""
        super().__init__()
        self.actions, self.seed = actions, seed
        self.fc1 = nn.Linear(state, fc1)
        self.fc2 = nn.Linear(fc1, fc2)
        value_size = advantage_size = 6
        self.value = nn.Sequential(nn.Linear(fc2, value_size), nn.ReLU(), nn.Linear(value_size, 1))
        self.advantage = nn.Sequential(nn.Linear(fc2, advantage_size), nn.ReLU(), nn.Linear(advantage_size, actions))

    def forward(self, state):
        x = F.relu(self.fc2(F.relu(self.fc1(state))))
        adv = self.advantage(x)
        return self.value(x) + adv - adv.mean(1).unsqueeze(1).expand(x.size(0), self.actions)
