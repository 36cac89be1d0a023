import torch
import torch.nn as nn
import torch.nn.functional as F


class SameConv(nn.Module):
    """A strided convolution whose padding keeps ceil(n / stride) steps."""

    def __init__(self, inp, out, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(inp, out, kernel, stride)

    def forward(self, x):
        n = x.shape[-1]
        p = max(0, ((n + self.stride - 1) // self.stride - 1) * self.stride + self.kernel - n)
        left = p // 2
        return self.conv(F.pad(x, (left, p - left), "constant", 0))


class Block(nn.Module):
    def __init__(self, inp, out, down):
        super().__init__()
        self.inp, self.out, self.stride = inp, out, 2 if down else 1
        self.bn = nn.BatchNorm1d(inp)
        self.conv = SameConv(inp, out, 3, self.stride)
        self.pool = nn.MaxPool1d(self.stride, ceil_mode=True)

    def forward(self, x):
        identity = self.pool(x) if self.stride > 1 else x
        out = self.conv(torch.relu(self.bn(x)))
        if self.out != self.inp:
            # new channels of the shortcut are zero
            identity = identity.transpose(-1, -2)
            missing = self.out - self.inp
            identity = F.pad(identity, (missing // 2, missing - missing // 2), "constant", 0).transpose(-1, -2)
        out += identity
        return out


class ResNet1D(nn.Module):
    def __init__(self, channels, filters, blocks, classes):
        super().__init__()
        self.first = SameConv(channels, filters, 3, 1)
        self.blocks = nn.ModuleList()
        for i in range(blocks):
            inp = int(filters * 2 ** ((i - 1) // 2)) if i > 0 else filters
            self.blocks.append(Block(inp, int(filters * 2 ** (i // 2)), down=i % 2 == 1))
        self.dense = nn.Linear(int(filters * 2 ** ((blocks - 1) // 2)), classes)

    def forward(self, x):
        out = self.first(x)
        for i in range(len(self.blocks)):
            out = self.blocks[i](out)
        return self.dense(out.mean(-1))
