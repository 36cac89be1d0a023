import torch.nn as nn
import torch.nn.functional as F


class RecurrentLM(nn.Module):
    def __init__(self, kind, tokens, width, layers=2, dropout=0.2, tied=False):
        super(RecurrentLM, self).__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(tokens, width)
        if kind in ['LSTM', 'GRU']:
            self.rnn = getattr(nn, kind)(width, width, layers, dropout=dropout, batch_first=True)
        else:
            nonlinearity = {'RNN_TANH': 'tanh', 'RNN_RELU': 'relu'}.get(kind)
            if nonlinearity is None:
                raise ValueError("unknown kind: %s" % kind)
            self.rnn = nn.RNN(width, width, layers, nonlinearity=nonlinearity, dropout=dropout, batch_first=True)
        self.decoder = nn.Linear(width, tokens)
        if tied:
            self.decoder.weight = self.encoder.weight
        for p in (self.encoder.weight, self.decoder.weight):
            nn.init.uniform_(p, -0.1, 0.1)
        self.kind, self.layers, self.width = kind, layers, width

    def start(self, size):
        weight = next(self.parameters())
        zeros = weight.new_zeros(self.layers, size, self.width)
        return (zeros, weight.new_zeros(self.layers, size, self.width)) if self.kind == 'LSTM' else zeros

    def forward(self, tokens, hidden=None):
        if hidden is None:
            hidden = self.start(tokens.size(0))
        states, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        return F.log_softmax(self.decoder(self.drop(states)), dim=-1).transpose(1, 2)
