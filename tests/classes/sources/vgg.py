import torch
import torch.nn as nn

PLANS = {
    "A": [4, "M", 8, "M"],
    "B": [4, 4, "M", 8, 8, "M"],
}


def make_layers(plan, batch_norm=False):
    layers = []
    channels = 3
    for item in plan:
        if item == "M":
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            continue
        conv = nn.Conv2d(channels, item, kernel_size=3, padding=1)
        layers += [conv, nn.BatchNorm2d(item), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]
        channels = item
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, plan="A", classes=4, batch_norm=True, init_weights=True):
        super(VGG, self).__init__()
        self.features = make_layers(PLANS[plan], batch_norm)
        last = [each for each in PLANS[plan] if not isinstance(each, str)][-1]
        self.classifier = nn.Sequential(nn.Linear(last * 4, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, classes))
        if init_weights:
            self._init()

    def _init(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                m.weight.data.normal_(0, 0.02)
                m.bias.data.zero_()
            elif isinstance(m, nn.Conv2d):
                fan = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                m.weight.data.normal_(0, (2.0 / fan) ** 0.5)
                if m.bias is not None:
                    m.bias.data.fill_(0)

    def forward(self, x):
        x = self.features(x)
        x = x.reshape(x.shape[0], -1)
        return self.classifier(x)

    def use_checkpoints(self):
        # trades time for memory; nothing here calls it
        self.features = torch.utils.checkpoint.checkpoint(self.features)
