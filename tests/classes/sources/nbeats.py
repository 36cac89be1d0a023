import torch
from torch import nn
from torch.nn import functional as F


def time_axis(backcast, forecast):
    span = torch.linspace(-backcast, forecast, backcast + forecast) / (backcast + forecast)
    return span[:backcast], span[backcast:]


class Block(nn.Module):
    def __init__(self, units, size, backcast, forecast):
        super(Block, self).__init__()
        self.backcast, self.forecast = backcast, forecast
        self.hidden = nn.Sequential(nn.Linear(backcast, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU())
        self.theta = nn.Linear(units, size, bias=False)

    def forward(self, x):
        return self.expand(self.theta(self.hidden(x)))

    def expand(self, theta):
        raise NotImplementedError

    def __str__(self):
        return f"{type(self).__name__}(backcast={self.backcast}, forecast={self.forecast})"


class Trend(Block):
    def __init__(self, units, degree, backcast, forecast):
        super(Trend, self).__init__(units, 2 * degree, backcast, forecast)
        for name, t in zip(("past", "future"), time_axis(backcast, forecast)):
            self.register_buffer(name, torch.stack([t ** i for i in range(degree)]))

    def expand(self, theta):
        a, b = theta.chunk(2, dim=1)
        return a.mm(self.past), b.mm(self.future)


class Seasonal(Trend):
    def __init__(self, units, harmonics, backcast, forecast):
        super().__init__(units, 2 * harmonics, backcast, forecast)
        for name, t in zip(("past", "future"), time_axis(backcast, forecast)):
            waves = [f(2 * torch.pi * i * t) for f in (torch.cos, torch.sin) for i in range(harmonics)]
            setattr(self, name, torch.stack(waves))


class Generic(Block):
    def __init__(self, units, size, backcast, forecast):
        super().__init__(units, size, backcast, forecast)
        self.heads = nn.ModuleList([nn.Linear(size, n) for n in (backcast, forecast)])

    def expand(self, theta):
        return tuple(head(F.relu(theta)) for head in self.heads)


class NBeats(nn.Module):
    KINDS = {"trend": Trend, "seasonal": Seasonal, "generic": Generic}

    def __init__(self, stacks=("trend", "seasonal", "generic"), units=6, size=2, backcast=8, forecast=3):
        super().__init__()
        self.forecast = forecast
        self.stacks = nn.ModuleList([self.KINDS[kind](units, size, backcast, forecast) for kind in stacks])

    def forward(self, x):
        total = torch.zeros(x.size(0), self.forecast, device=x.device)
        for block in self.stacks:
            back, ahead = block(x)
            x = x - back
            total = total + ahead
        return total
