import torch
import torch.nn as nn
import torch.nn.functional as F


class GaussianMLP(nn.Module):
    """ The mean and the variance of a normal distribution. """

    def __init__(self, inputs=1, outputs=1, hidden=[8], activation='relu'):
        super(GaussianMLP, self).__init__()
        self.outputs = outputs
        self.count = len(hidden)
        sizes = [inputs, *hidden, 2 * outputs]
        if activation == 'relu':
            self.act = torch.relu
        elif activation == 'tanh':
            self.act = torch.tanh
        else:
            assert False, 'Use "relu" or "tanh".'
        for i in range(self.count + 1):
            setattr(self, 'layer_' + str(i), nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x):
        for i in range(self.count):
            x = self.act(getattr(self, 'layer_' + str(i))(x))
        x = getattr(self, f'layer_{self.count}')(x)
        mean, variance = torch.split(x, self.outputs, dim=1)
        return mean, F.softplus(variance) + 1e-6
