import torch
import torch.nn as nn


class SameDigit(nn.Module):
    def __init__(self):
        super(SameDigit, self).__init__()
        self.features = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(1, 4, kernel_size=3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.in_features = 4 * 3 * 3
        self.fc = nn.Sequential(nn.Linear(self.in_features * 2, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))

    def forward_once(self, x):
        x = self.features(x)
        return x.view(x.size()[0], -1)

    def forward(self, first, second):
        both = torch.cat((self.forward_once(first), self.forward_once(second)), 1)
        return torch.sigmoid(self.fc(both))
