import torch
import torch.nn as nn


class Derivative(nn.Module):
    def __init__(self, dim=2, hidden=8):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y ** 3) * (1 + t)


def euler(f, t, dt, y):
    return dt * f(t, y)


def rk4(f, t, dt, y):
    k1 = f(t, y)
    k2 = f(t + dt / 2, y + dt * k1 / 2)
    k3 = f(t + dt / 2, y + dt * k2 / 2)
    k4 = f(t + dt, y + dt * k3)
    return dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6


class Flow(nn.Module):
    methods = {'euler': euler, 'rk4': rk4}

    def __init__(self, dim=2, steps=3, method='euler'):
        super().__init__()
        self.f = Derivative(dim)
        self.times = torch.linspace(0., 1., steps + 1).tolist()
        self.method = method

    def forward(self, y):
        step = self.methods[self.method]
        for t0, t1 in zip(self.times[:-1], self.times[1:]):
            y = y + step(self.f, t0, t1 - t0, y)
        return y
