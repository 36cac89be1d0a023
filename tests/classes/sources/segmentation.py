from torch import nn, Tensor
from torch.nn import functional as F


class Head(nn.Sequential):
    def __init__(self, inp: int, out: int) -> None:
        inner = inp // 2
        layers = [nn.Conv2d(inp, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, out, 1)]
        super().__init__(*layers)


class FCN(nn.Module):
    __constants__ = ["classes"]

    def __init__(self, classes: int = 3, width: int = 6):
        super().__init__()
        self.classes = classes
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
        )
        self.head = Head(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x = self.head(self.backbone(x))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
