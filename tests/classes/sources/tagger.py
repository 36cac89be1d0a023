import torch
from torch import nn
import torch.nn.functional as F


class Tagger(nn.Module):
    def __init__(self, words, tags, width=4, hidden=5):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.tags = nn.Linear(2 * hidden, tags)

    def forward(self, sentence):
        states, _ = self.lstm(self.words(sentence))
        return F.log_softmax(self.tags(self.norm(states)), dim=2).transpose(1, 2)
