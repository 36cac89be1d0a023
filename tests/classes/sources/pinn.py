import torch
import torch.nn as nn


class PINN(nn.Module):
    """u(x, t), with Fourier features and a learned coefficient of the equation."""

    def __init__(self, inputs=2, outputs=1, hidden=6, layers=2, frequencies=3):
        super().__init__()
        activation = nn.Tanh
        self.register_buffer("B", torch.randn(inputs, frequencies) * 2.0)
        self.start = nn.Sequential(*[nn.Linear(2 * frequencies, hidden), activation()])
        self.middle = nn.Sequential(*[
            nn.Sequential(*[nn.Linear(hidden, hidden), activation()]) for _ in range(layers - 1)])
        self.end = nn.Linear(hidden, outputs)
        self.nu = nn.Parameter(torch.tensor(0.1))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_normal_(m.weight.data, gain=5 / 3)
                nn.init.zeros_(m.bias.data)

    def forward(self, x):
        if not torch.is_tensor(x):
            x = torch.tensor(x)
        angle = 2 * torch.pi * x @ self.B
        x = torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)
        return self.end(self.middle(self.start(x))) * self.nu
