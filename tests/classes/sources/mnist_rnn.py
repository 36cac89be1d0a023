import torch
from torch import nn


class RowReader(nn.Module):
    """Reads an image row by row; the last state decides."""

    def __init__(self, columns=6, hidden=8, classes=10):
        super().__init__()
        self.rnn = nn.LSTM(input_size=columns, hidden_size=hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, classes)
        self.act = nn.LogSoftmax(dim=-1)

    def forward(self, image):
        rows = image.squeeze(1)
        states, (last, _) = self.rnn(rows)
        return self.act(self.out(self.norm(states[:, -1, :])))
