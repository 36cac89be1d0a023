import math

import torch
import torch.nn.functional as F


class SplineLinear(torch.nn.Module):
    """B-splines on a fixed grid, by the recursion of de Boor, beside a linear layer."""

    def __init__(self, inp, out, grid=3, order=2, base=torch.nn.SiLU, limits=[-1, 1]):
        super().__init__()
        self.inp, self.out, self.order = inp, out, order
        h = (limits[1] - limits[0]) / grid
        knots = (torch.arange(-order, grid + order + 1) * h + limits[0]).expand(inp, -1).contiguous()
        self.register_buffer("knots", knots)
        self.base_weight = torch.nn.Parameter(torch.Tensor(out, inp))
        self.spline_weight = torch.nn.Parameter(torch.Tensor(out, inp, grid + order))
        self.base = base()
        self.reset_parameters()

    def reset_parameters(self):
        torch.nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))
        with torch.no_grad():
            self.spline_weight.data.copy_((torch.rand(self.out, self.inp, self.spline_weight.size(2)) - 0.5) * 0.1)

    def bases(self, x: torch.Tensor):
        assert x.dim() == 2 and x.size(1) == self.inp
        g, x = self.knots, x.unsqueeze(-1)
        b = ((x >= g[:, :-1]) & (x < g[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)]) * b[:, :, :-1]
            right = (g[:, k + 1 :] - x) / (g[:, k + 1 :] - g[:, 1:(-k)]) * b[:, :, 1:]
            b = left + right
        return b.contiguous()

    def forward(self, x: torch.Tensor):
        spline = F.linear(self.bases(x).view(x.size(0), -1), self.spline_weight.view(self.out, -1))
        return F.linear(self.base(x), self.base_weight) + spline


class KAN(torch.nn.Module):
    def __init__(self, sizes, grid=3, order=2):
        super().__init__()
        self.layers = torch.nn.ModuleList()
        for inp, out in zip(sizes, sizes[1:]):
            self.layers.append(SplineLinear(inp, out, grid=grid, order=order))

    def forward(self, x: torch.Tensor, update_grid=False):
        for layer in self.layers:
            if update_grid:
                layer.update_grid(x)
            x = layer(x)
        return x
