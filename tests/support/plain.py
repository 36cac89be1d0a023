"""The fits of the tests as plain PyTorch scripts, as a reader of the chapter would write them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tests.support.fits import T_C, T_U
from tests.support.server import Service


@dataclass
class Script:
    """What a script ends with."""

    model: nn.Module
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads: their number changes the last bits of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_thermometer(
    build: Callable[[], nn.Module],
    n_epochs: int,
    lr: float,
    seed: int = 0,
    clip: float | None = None,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
) -> Script:
    """The chapter's script, with what it prints kept in lists."""
    t_c = torch.tensor(T_C).unsqueeze(1)
    t_u = torch.tensor(T_U).unsqueeze(1)
    n_samples = t_u.shape[0]
    n_val = int(0.2 * n_samples)
    shuffled_indices = torch.randperm(n_samples, generator=torch.Generator().manual_seed(0))
    train_indices = shuffled_indices[:-n_val]
    val_indices = shuffled_indices[-n_val:]
    t_un_train, t_c_train = 0.1 * t_u[train_indices], t_c[train_indices]
    t_un_val, t_c_val = 0.1 * t_u[val_indices], t_c[val_indices]

    torch.manual_seed(seed)
    model = build()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    scheduler = schedule(optimizer) if schedule else None
    loss_fn = nn.MSELoss()
    script = Script(model)
    for _ in range(1, n_epochs + 1):
        t_p_train = model(t_un_train)
        loss_train = loss_fn(t_p_train, t_c_train)
        t_p_val = model(t_un_val)
        loss_val = loss_fn(t_p_val, t_c_val)
        script.train_loss.append(loss_train.item())
        script.validation_loss.append(loss_val.item())
        script.learning_rate.append(optimizer.param_groups[0]["lr"])

        optimizer.zero_grad()
        loss_train.backward()
        if clip is not None:
            clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return script


def fit_classifier(
    inputs: Tensor,
    targets: Tensor,
    build: Callable[[], nn.Module],
    n_epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    validation: float = 0.2,
    loss_fn: nn.Module | None = None,
) -> Script:
    """Mini-batches in a new order each epoch, Adam, validation after each epoch's last step.

    Args:
        inputs: float32 [N, features].
        targets: int64 [N].
        loss_fn: by default the plain `CrossEntropyLoss`.
    """
    loss_fn = loss_fn or nn.CrossEntropyLoss()
    n_val = int(validation * len(inputs))
    shuffled_indices = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, val = shuffled_indices[:-n_val], shuffled_indices[-n_val:]
    x_train, y_train, x_val, y_val = inputs[train], targets[train], inputs[val], targets[val]

    torch.manual_seed(seed)
    model = build()
    optimizer = optim.Adam(model.parameters(), lr=lr)
    script = Script(model)
    for _ in range(n_epochs):
        total, count = 0.0, 0
        model.train()
        for batch in torch.randperm(len(x_train)).split(batch_size):
            loss = loss_fn(model(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(batch) * loss.item()
            count += len(batch)
        script.train_loss.append(total / count)
        model.eval()
        with torch.no_grad():
            script.validation_loss.append(loss_fn(model(x_val), y_val).item())
    return script


def assert_equal(service: Service, job: dict[str, Any], script: Script) -> None:
    """The job's history, parameters and gradients are the script's, bit for bit."""
    history = service.history(job["id"])
    assert history["epochs"] == list(range(1, len(script.train_loss) + 1))
    assert history["train_loss"] == script.train_loss
    assert history["validation_loss"] == script.validation_loss
    if script.learning_rate:
        assert history["learning_rate"] == script.learning_rate
    parameters = service.parameters(job["id"])
    assert {name: each["values"] for name, each in parameters.items()} == {
        name: parameter.tolist() for name, parameter in script.model.named_parameters()
    }
    assert {name: each["gradient"] for name, each in parameters.items()} == {
        name: parameter.grad.tolist() for name, parameter in script.model.named_parameters()
    }
