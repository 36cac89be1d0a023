import torch
import torch.nn as nn


class Elman(nn.Module):
    """A recurrent network, written out over the time steps."""

    def __init__(self, inputs, hidden, classes):
        super(Elman, self).__init__()
        self.hidden_size = hidden
        self.i2h = nn.Linear(inputs + hidden, hidden)
        self.h2o = nn.Linear(hidden, classes)
        self.softmax = nn.LogSoftmax(dim=1)

    def init_hidden(self, rows, device):
        return torch.zeros(rows, self.hidden_size, device=device)

    def forward(self, line):
        hidden = self.init_hidden(line.size(0), line.device)
        for t in range(line.size()[1]):
            hidden = torch.tanh(self.i2h(torch.cat((line[:, t], hidden), 1)))
        return self.softmax(self.h2o(hidden))
