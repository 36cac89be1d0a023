import torch
import torch.nn as nn
import torch.nn.functional as F


class ActorCritic(nn.Module):
    def __init__(self, state=4, actions=2):
        super().__init__()
        self.shared = nn.Linear(state, 12)
        self.actor, self.critic = nn.Linear(12, actions), nn.Linear(12, 1)
        # filled by the training loop
        self.saved, self.rewards = [], []

    def forward(self, x):
        h = F.relu(self.shared(x))
        return F.softmax(self.actor(h), dim=-1), self.critic(h)
