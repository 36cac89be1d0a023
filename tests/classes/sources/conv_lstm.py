import torch
import torch.nn as nn


class Cell(nn.Module):
    def __init__(self, inputs, hidden, kernel):
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=tuple(k // 2 for k in kernel))

    def forward(self, x, state):
        h, c = state
        i, f, o, g = torch.split(self.conv(torch.cat([x, h], dim=1)), self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def start(self, rows, size):
        device = self.conv.weight.device
        return tuple(torch.zeros(rows, self.hidden, *size, device=device) for _ in range(2))


class ConvLSTM(nn.Module):
    def __init__(self, channels, hidden, kernel=(3, 3), layers=2):
        super().__init__()
        hidden = self._for_each(hidden, layers)
        if not len(hidden) == layers:
            raise ValueError('one size for each layer')
        self.cells = nn.ModuleList()
        for n in range(0, layers):
            self.cells.append(Cell(channels if n == 0 else hidden[n - 1], hidden[n], kernel))
        self.head = nn.Conv2d(hidden[-1], 1, 1)

    @staticmethod
    def _for_each(value, count):
        return value if isinstance(value, list) else [value] * count

    def forward(self, video):
        b, t, _, *size = video.size()
        frames = [video[:, i] for i in range(t)]
        for cell in self.cells:
            state, outputs = cell.start(b, size), []
            for frame in frames:
                state = cell(frame, state)
                outputs.append(state[0])
            frames = outputs
        return self.head(frames[-1])
