import torch
import torch.nn.functional as F


class AttentionalFM(torch.nn.Module):
    """Xiao et al. (arXiv:1708.04617): pairs of fields, weighted by attention."""

    def __init__(self, sizes, rank, attention, dropouts):
        super().__init__()
        self.tables = torch.nn.ModuleList([torch.nn.Embedding(n, rank) for n in sizes])
        self.attention = torch.nn.Linear(rank, attention)
        self.projection = torch.nn.Linear(attention, 1)
        self.fc = torch.nn.Linear(rank, 1)
        self.dropouts = dropouts

    def forward(self, x):
        v = torch.stack([table(x[:, i]) for i, table in enumerate(self.tables)], dim=1)
        row, col = list(), list()
        for i in range(v.shape[1] - 1):
            for j in range(i + 1, v.shape[1]):
                row.append(i), col.append(j)
        products = v[:, row] * v[:, col]
        scores = F.softmax(self.projection(F.relu(self.attention(products))), dim=1)
        scores = F.dropout(scores, p=self.dropouts[0], training=self.training)
        pooled = F.dropout(torch.sum(scores * products, dim=1), p=self.dropouts[1], training=self.training)
        return self.fc(pooled)
