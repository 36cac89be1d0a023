import torch.nn as nn


class Autoencoder(nn.Module):
    def __init__(self, n_features=12, sizes=(8, 4)):
        super().__init__()
        layers = [n_features, *sizes]

        def stack(widths, last):
            parts = []
            for a, b in zip(widths, widths[1:]):
                parts.extend((nn.Linear(a, b), nn.ReLU()))
            parts[-1] = last
            return nn.Sequential(*parts)

        self.encoder = stack(layers, nn.Tanh())
        self.decoder = stack(layers[::-1], nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))
