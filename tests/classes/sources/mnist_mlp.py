import torch.nn as nn


class Digits(nn.Module):
    """Two hidden layers for flattened digits."""

    def __init__(self, pixels=64, hidden=(16, 12), classes=10):
        super(Digits, self).__init__()
        first, second = hidden
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(
            nn.Linear(pixels, first), nn.ReLU(),
            nn.Linear(first, second), nn.ReLU(),
            nn.Linear(second, classes),
        )

    def forward(self, x):
        return self.layers(self.flatten(x))
