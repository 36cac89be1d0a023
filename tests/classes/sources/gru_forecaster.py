import torch
import torch.nn as nn


class Forecaster(nn.Module):
    def __init__(self, inputs, horizon, hidden=5, layers=2, dropout=0.2, device=None):
        super().__init__()
        self.device = device or torch.device("cpu")
        self.horizon, self.inputs = horizon, inputs
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True, dropout=dropout)
        self.fc = nn.Linear(hidden, horizon * inputs)
        self.to(self.device)

    def init_hidden(self, rows):
        return torch.zeros(self.gru.num_layers, rows, self.gru.hidden_size).to(self.device)

    def forward(self, x):
        out, _ = self.gru(x, self.init_hidden(x.shape[0]))
        return self.fc(torch.relu(out[:, -1])).view(-1, self.horizon, self.inputs)
