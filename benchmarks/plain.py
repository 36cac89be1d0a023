"""The same fits as plain PyTorch scripts, as a user would write them without the service."""

from contextlib import nullcontext

import torch
from sklearn.datasets import load_digits
from torch import nn, optim

from service.demo import T_C, T_U


def thermometer(epochs: int, hidden: int | None = 13, device: str = "cpu") -> float:
    """Fit the thermometer data by gradient descent on the full batch; return the last training loss.

    Args:
        epochs: Number of epochs.
        hidden: Number of hidden tanh units; None fits a linear model.
        device: Device to train on.
    """
    t_u = torch.tensor(T_U, device=device).unsqueeze(1) * 0.1
    t_c = torch.tensor(T_C, device=device).unsqueeze(1)
    order = torch.randperm(len(t_u), generator=torch.Generator().manual_seed(0)).to(device)
    train, validation = order[:-2], order[-2:]
    torch.manual_seed(0)
    if hidden is None:
        model: nn.Module = nn.Linear(1, 1)
    else:
        model = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1))
    model.to(device)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    loss_fn = nn.MSELoss()
    losses: list[tuple[float, float]] = []
    for _ in range(epochs):
        loss_train = loss_fn(model(t_u[train]), t_c[train])
        loss_validation = loss_fn(model(t_u[validation]), t_c[validation])
        optimizer.zero_grad()
        loss_train.backward()
        optimizer.step()
        losses.append((loss_train.item(), loss_validation.item()))
    return losses[-1][0]


def noisy_data() -> tuple[list[list[float]], list[list[float]]]:
    """Return the inputs [2000, 20] of made-up data, and the targets [2000, 1]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 20, generator=generator)
    y = x[:, 0] * x[:, 1] + x[:, 2] + 0.1 * torch.randn(2000, generator=generator)
    return x.tolist(), y[:, None].tolist()


def regularized(epochs: int, hidden: int = 64, batch_size: int = 64, rate: float = 0.2) -> float:
    """Fit a network with batch norm and dropout by Adam; return the training loss of the last epoch.

    Args:
        epochs: Number of epochs.
        hidden: Number of units of each of the two hidden layers.
        batch_size: Number of samples of a step.
        rate: Probability of dropout.
    """
    inputs, targets = noisy_data()
    x, y = torch.tensor(inputs), torch.tensor(targets)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, validation = order[:-400], order[-400:]
    x_train, y_train, x_validation, y_validation = x[train], y[train], x[validation], y[validation]
    torch.manual_seed(0)
    layers = [
        layer
        for width in (20, hidden)
        for layer in (nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(rate))
    ]
    model = nn.Sequential(*layers, nn.Linear(hidden, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.MSELoss()
    total = 0.0
    for _ in range(epochs):
        model.train()
        shuffled = torch.randperm(len(x_train))
        total = 0.0
        for start in range(0, len(x_train), batch_size):
            batch = shuffled[start : start + batch_size]
            loss = loss_fn(model(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()
        with torch.no_grad():
            loss_fn(model(x_validation), y_validation).item()
    return total / len(x_train)


def digits_data() -> tuple[list[list[float]], list[int]]:
    """Return the inputs [1797, 64] of the digits data, scaled to [0, 1], and the targets [1797]."""
    digits = load_digits()
    return (digits.data / 16).tolist(), digits.target.tolist()


def digits(
    epochs: int,
    hidden: int = 128,
    batch_size: int = 32,
    layers: int = 1,
    device: str = "cpu",
    half: bool = False,
) -> float:
    """Fit a classifier of the digits data by Adam; return the training loss of the last epoch.

    Args:
        epochs: Number of epochs.
        hidden: Number of units of each hidden layer.
        batch_size: Number of samples of a step.
        layers: Number of hidden layers.
        device: Device to train on.
        half: Use bfloat16 autocast.
    """
    inputs, targets = digits_data()
    x, y = torch.tensor(inputs, device=device), torch.tensor(targets, device=device)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(device)
    n_validation = int(0.2 * len(x))
    train, validation = order[:-n_validation], order[-n_validation:]
    x_train, y_train, x_validation, y_validation = x[train], y[train], x[validation], y[validation]
    torch.manual_seed(0)
    further = [layer for _ in range(layers - 1) for layer in (nn.Linear(hidden, hidden), nn.ReLU())]
    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), *further, nn.Linear(hidden, 10)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    precision = torch.autocast(device, torch.bfloat16) if half else nullcontext()
    total = 0.0
    for _ in range(epochs):
        shuffled = torch.randperm(len(x_train)).to(device)
        total = 0.0
        for start in range(0, len(x_train), batch_size):
            batch = shuffled[start : start + batch_size]
            with precision:
                loss = loss_fn(model(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        with torch.no_grad():
            loss_fn(model(x_validation), y_validation).item()
    return total / len(x_train)
