import torch
import torch.nn as nn
import torch.nn.functional as F

LONGEST = 4
START = 0


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.query, self.key, self.score = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, 1)

    def forward(self, query, keys):
        scores = self.score(torch.tanh(self.query(query) + self.key(keys))).squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class Seq2Seq(nn.Module):
    """Decodes greedily from its own predictions."""

    def __init__(self, vocabulary, size):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, size)
        self.encoder = nn.GRU(size, size, batch_first=True)
        self.attention = Attention(size)
        self.decoder = nn.GRU(2 * size, size, batch_first=True)
        self.out = nn.Linear(size, vocabulary)

    def step(self, token, hidden, states):
        context, weights = self.attention(hidden.permute(1, 0, 2), states)
        output, hidden = self.decoder(torch.cat((self.embed(token), context), dim=2), hidden)
        return self.out(output), hidden, weights

    def forward(self, source, target=None):
        states, hidden = self.encoder(self.embed(source))
        token = torch.empty(states.size(0), 1, dtype=torch.long, device=states.device).fill_(START)
        outputs = []
        for i in range(LONGEST):
            output, hidden, _ = self.step(token, hidden, states)
            outputs.append(output)
            if target is not None:
                token = target[:, i].unsqueeze(1)
            else:
                _, best = output.topk(1)
                token = best.squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1).transpose(1, 2)
