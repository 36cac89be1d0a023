import torch.nn as nn


class Equivariant(nn.Module):
  def __init__(self, inp, out, pool):
    super(Equivariant, self).__init__()
    self.own = nn.Linear(inp, out)
    self.common = nn.Linear(inp, out, bias=False)
    self.pool = pool

  def forward(self, x):
    if self.pool == 'max':
      pooled, _ = x.max(1, keepdim=True)
    else:
      pooled = x.mean(1, keepdim=True)
    return self.own(x) - self.common(pooled)


class DeepSet(nn.Module):

  def __init__(self, size, inputs=3, pool = 'mean'):
    super(DeepSet, self).__init__()
    if pool not in ('mean', 'max'):
      raise ValueError('unknown pooling: %s' % pool)
    self.pool = pool
    self.phi = nn.Sequential(Equivariant(inputs, size, pool), nn.ELU(inplace=True), Equivariant(size, size, pool))
    self.rho = nn.Sequential(nn.Dropout(p=0.3), nn.Linear(size, size), nn.ELU(inplace=True), nn.Linear(size, 1))

  def forward(self, x):
    h = self.phi(x)
    h = h.mean(1) if self.pool == 'mean' else h.max(dim=1)[0]
    return self.rho(h)
