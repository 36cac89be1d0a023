import torch
import torch.nn as nn


class MovingAverage(nn.Module):
    """The trend of a series, whose ends are repeated."""
    def __init__(self, size):
        super(MovingAverage, self).__init__()
        self.size = size
        self.avg = nn.AvgPool1d(kernel_size=size, stride=1, padding=0)

    def forward(self, x):
        n = (self.size - 1) // 2
        x = torch.cat([x[:, 0:1, :].repeat(1, n, 1), x, x[:, -1:, :].repeat(1, n, 1)], dim=1)
        return self.avg(x.permute(0, 2, 1)).permute(0, 2, 1)


class DLinear(nn.Module):
    def __init__(self, configs):
        super().__init__()
        self.steps, self.horizon = configs.steps, configs.horizon
        self.each = configs.individual
        self.trend = MovingAverage(5)
        if self.each:
            self.seasonal_layers, self.trend_layers = nn.ModuleList(), nn.ModuleList()
            for _ in range(configs.channels):
                self.seasonal_layers.append(nn.Linear(self.steps, self.horizon))
                self.trend_layers.append(nn.Linear(self.steps, self.horizon))
                self.trend_layers[-1].weight = nn.Parameter(
                    (1 / self.steps) * torch.ones([self.horizon, self.steps]))
        else:
            self.seasonal_layers = nn.Linear(self.steps, self.horizon)
            self.trend_layers = nn.Linear(self.steps, self.horizon)

    def forward(self, x):
        # x: [B, steps, channels]
        trend = self.trend(x)
        seasonal, trend = (x - trend).permute(0, 2, 1), trend.permute(0, 2, 1)
        if self.each:
            out = torch.zeros([x.size(0), x.size(2), self.horizon], dtype=x.dtype).to(x.device)
            for i in range(x.size(2)):
                out[:, i, :] = self.seasonal_layers[i](seasonal[:, i, :]) + self.trend_layers[i](trend[:, i, :])
        else:
            out = self.seasonal_layers(seasonal) + self.trend_layers(trend)
        return out.permute(0, 2, 1)
