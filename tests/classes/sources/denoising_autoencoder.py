import torch
import torch.nn as nn


class Denoiser(nn.Module):
    def __init__(self, channels=(4, 6), noise=0.2):
        super().__init__()
        self.noise = noise
        a, b = channels
        self.down1, self.down2 = nn.Conv2d(1, a, 3, stride=2, padding=1), nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.up1 = nn.ConvTranspose2d(b, a, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(a, 1, 2, stride=2)

    def forward(self, x):
        if self.training:
            x = x + self.noise * torch.randn_like(x)
        h = self.down2(torch.relu(self.down1(x))).relu()
        return torch.sigmoid(self.up2(self.up1(h).relu_()))
