from __future__ import print_function

import torch
from torch import nn
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, pixels=16, hidden=10, latent=3):
        super(VAE, self).__init__()
        self.pixels = pixels
        self.enc = nn.Linear(pixels, hidden)
        self.mean, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.dec = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels), nn.Sigmoid())

    def encode(self, x):
        h = F.relu(self.enc(x))
        return self.mean(h), self.log_var(h)

    def sample(self, mu, log_var):
        std = torch.exp(0.5 * log_var)
        return mu + torch.randn_like(std) * std

    def forward(self, x):
        mu, log_var = self.encode(x.view(-1, self.pixels))
        return self.dec(self.sample(mu, log_var)), mu, log_var


def loss_function(recon, x, mu, log_var):
    # Kingma and Welling, arXiv:1312.6114, appendix B
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    print("kl", kl.item())
    return F.binary_cross_entropy(recon, x, reduction='sum') + kl
