import torch
from torch import nn
import torch.nn.functional as F


class Tower(nn.Module):
    def __init__(self, ids, features, dims, *, normalize=True):
        super().__init__()
        self.bag = nn.EmbeddingBag(ids, dims[0], mode="sum")
        layers = []
        for a, b in zip([dims[0] + features, *dims[1:-1]], dims[1:]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.normalize = normalize

    def forward(self, ids, features):
        h = self.mlp(torch.cat([self.bag(ids), features], dim=1))
        return F.normalize(h, p=2, dim=-1) if self.normalize else h


class TwoTower(nn.Module):
    temperature = 0.5

    def __init__(self, users: int, items: int, features: int, dims=(4, 8, 4)):
        super().__init__()
        self.user, self.item = Tower(users, features, dims), Tower(items, features, dims)
        self.scale = nn.Parameter(torch.ones([]) * (1 / self.temperature))

    def forward(self, user_ids, user_features, item_ids, item_features):
        u, i = self.user(user_ids, user_features), self.item(item_ids, item_features)
        return (u * i).sum(dim=1) * self.scale.exp()
