import torch
import torch.nn as nn
import torch.nn.functional as F


class TwoConvs(nn.Module):
    def __init__(self, inp, out, mid=None):
        super().__init__()
        mid = mid or out
        self.net = nn.Sequential(
            nn.Conv2d(inp, mid, 3, padding=1, bias=False), nn.BatchNorm2d(mid), nn.ReLU(inplace=True),
            nn.Conv2d(mid, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.net(x)


class UNet(nn.Module):
    def __init__(self, channels=1, classes=2, widths=[2, 4, 6], bilinear=False):
        super().__init__()
        self.encoder = nn.ModuleList()
        for inp, out in zip([channels] + widths[:-1], widths):
            self.encoder.append(TwoConvs(inp, out))
        self.pool = nn.MaxPool2d(2)
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for deep, shallow in reversed(list(zip(widths[1:], widths[:-1]))):
            if bilinear:
                self.up.append(nn.Sequential(
                    nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True), nn.Conv2d(deep, shallow, 1)))
            else:
                self.up.append(nn.ConvTranspose2d(deep, shallow, kernel_size=2, stride=2))
            self.decoder.append(TwoConvs(2 * shallow, shallow))
        self.out = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.encoder):
            x = block(x if i == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.decoder):
            x, skip = up(x), skips.pop()
            # an odd size loses a row or a column in pooling
            dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            if dy or dx:
                x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = block(torch.cat([skip, x], dim=1))
        return self.out(x)
