import torch
import torch.nn as nn
import torch.nn.init as init


class Upscaler(nn.Module):
    def __init__(self, factor):
        super(Upscaler, self).__init__()
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(1, 6, (5, 5), (1, 1), (2, 2))
        self.second = nn.Conv2d(6, 4, (3, 3), (1, 1), (1, 1))
        self.last = nn.Conv2d(4, factor ** 2, (3, 3), (1, 1), (1, 1))
        self.shuffle = nn.PixelShuffle(factor)
        self._initialize()

    def _initialize(self):
        for conv in (self.first, self.second):
            init.orthogonal_(conv.weight, init.calculate_gain('relu'))
        init.orthogonal_(self.last.weight)

    def forward(self, x):
        x = self.relu(self.second(self.relu(self.first(x))))
        return self.shuffle(self.last(x))
