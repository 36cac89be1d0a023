import torch
import torch.nn as nn


class Characters(nn.Module):
    def __init__(self, size, hidden, n_layers=1, model="gru"):
        super(Characters, self).__init__()
        self.model = model.lower()
        self.embed = nn.Embedding(size, hidden)
        if self.model == "gru":
            self.rnn = nn.GRU(hidden, hidden, n_layers)
        elif self.model == "lstm":
            self.rnn = nn.LSTM(hidden, hidden, n_layers)
        self.decoder = nn.Linear(hidden, size)

    def forward(self, text):
        steps = self.embed(text).permute(1, 0, 2)          # [T, B, hidden]
        output, _ = self.rnn(steps)
        flat = self.decoder(output.contiguous().view(-1, output.shape[2]))
        return flat.view(output.shape[0], output.shape[1], -1).permute(1, 2, 0)
