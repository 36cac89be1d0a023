import torch
import torch.nn as nn
import torch.nn.functional as F


class DigitNet(nn.Module):
    def __init__(self, classes=10, p=0.3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 6, kernel_size=3)
        self.drop = nn.Dropout2d(p)
        self.fc1 = nn.Linear(6 * 4, 12)
        self.fc2 = nn.Linear(12, classes)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))          # [B, 4, 5, 5]
        x = F.relu(self.drop(self.conv2(x)))                # [B, 6, 3, 3]
        x = F.max_pool2d(x, kernel_size=2, stride=1)        # [B, 6, 2, 2]
        x = torch.flatten(x, 1)
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)
