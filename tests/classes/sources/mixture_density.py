import torch
import torch.nn as nn


class MDN(nn.Module):
    """Bishop, "Mixture Density Networks", 1994: weights, deviations and means of Gaussians."""

    def __init__(self, inputs=1, outputs=1, hidden=6, gaussians=3):
        super(MDN, self).__init__()
        self.outputs = outputs
        self.gaussians = gaussians
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh())
        self.pi = nn.Sequential(nn.Linear(hidden, gaussians), nn.Softmax(dim=1))
        self.sigma, self.mu = (nn.Linear(hidden, outputs * gaussians) for _ in "sm")

    def forward(self, minibatch):
        h = self.body(minibatch)
        shape = (-1, self.gaussians, self.outputs)
        return self.pi(h), torch.exp(self.sigma(h)).view(*shape), self.mu(h).view(shape)
