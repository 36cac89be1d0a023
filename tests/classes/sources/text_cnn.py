import torch
import torch.nn as nn
import torch.nn.functional as F


class TextCNN(nn.Module):
    def __init__(self, args):
        super(TextCNN, self).__init__()
        self.args = args
        self.embed = nn.Embedding(args.words, args.width)
        self.convs = nn.ModuleList([nn.Conv2d(1, args.filters, (size, args.width)) for size in args.sizes])
        self.dropout = nn.Dropout(args.dropout)
        self.fc = nn.Linear(len(args.sizes) * args.filters, args.classes)
        if self.args.static:
            self.embed.weight.requires_grad = False

    @staticmethod
    def pooled(x, conv):
        x = F.relu(conv(x)).squeeze(3)
        return F.max_pool1d(x, x.size(2)).squeeze(2)

    def forward(self, x):
        x = self.embed(x).unsqueeze(1)
        x = torch.cat([self.pooled(x, conv) for conv in self.convs], 1)
        return self.fc(self.dropout(x))
