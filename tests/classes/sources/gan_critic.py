import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    def __init__(self, width=4, gpus=0):
        super().__init__()
        self.gpus = gpus
        self.convs = nn.Sequential(
            spectral_norm(nn.Conv2d(3, width, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True),
        )
        self.score = spectral_norm(nn.Linear(2 * width * 4, 1, bias=False), n_power_iterations=2)

    def forward(self, x):
        if x.is_cuda and self.gpus > 1:
            h = nn.parallel.data_parallel(self.convs, x, range(self.gpus))
        else:
            h = self.convs(x)
        return self.score(h.flatten(1)).squeeze(1)
