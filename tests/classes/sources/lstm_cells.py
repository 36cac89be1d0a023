import torch
import torch.nn as nn


class Waves(nn.Module):
    """Predicts each next value, then continues from its own predictions."""

    def __init__(self, hidden=5):
        super(Waves, self).__init__()
        self.hidden = hidden
        self.cells = nn.ModuleList([nn.LSTMCell(1, hidden), nn.LSTMCell(hidden, hidden)])
        self.linear = nn.Linear(hidden, 1)

    def step(self, x, states):
        for i, cell in enumerate(self.cells):
            states[i] = cell(x, states[i])
            x = states[i][0]
        return self.linear(x)

    def forward(self, series, future=2):
        zeros = lambda: torch.zeros(series.size(0), self.hidden, dtype=series.dtype)
        states = [(zeros(), zeros()) for _ in self.cells]
        outputs = []
        for value in series.split(1, dim=1):
            output = self.step(value, states)
            outputs += [output]
        while len(outputs) < series.size(1) + future:
            output = self.step(output, states)
            outputs += [output]
        return torch.cat(outputs, dim=1)
