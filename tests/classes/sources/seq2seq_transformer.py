import torch
from torch import Tensor
import torch.nn as nn
from torch.nn import Transformer

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class Translator(nn.Module):
    def __init__(self, source_size: int, target_size: int, width: int = 8, heads: int = 2, dropout: float = 0.1):
        super().__init__()
        self.transformer = Transformer(d_model=width, nhead=heads, num_encoder_layers=1, num_decoder_layers=1,
                                       dim_feedforward=12, dropout=dropout, batch_first=True)
        self.source = nn.Embedding(source_size, width)
        self.target = nn.Embedding(target_size, width)
        self.generator = nn.Linear(width, target_size)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    @staticmethod
    def causal(size):
        mask = (torch.triu(torch.ones((size, size), device=DEVICE)) == 1).transpose(0, 1)
        return mask.float().masked_fill(mask == 0, float('-inf')).masked_fill(mask == 1, float(0.0))

    def forward(self, src: Tensor, tgt: Tensor):
        out = self.transformer(self.source(src), self.target(tgt), tgt_mask=self.causal(tgt.shape[1]))
        return self.generator(out).permute(0, 2, 1)
