"""The plain PyTorch training script that results of the service are compared with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tests.support.server import Service
from tests.support.thermometer import T_C, T_U


@dataclass(frozen=True)
class SplitData:
    """Training and validation rows: inputs and targets, batch dimension first."""

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor


@dataclass
class Script:
    """A training loop written by hand; `run` executes it.

    With `batch_size` None an epoch is one step on all rows, and its validation precedes the step. Otherwise
    the validation follows the epoch's last step.

    Attributes:
        data: Training and validation rows.
        build: Builds the model, after the seed is set.
        make_optimizer: Makes the optimizer from the model's parameters.
        make_scheduler: Makes the learning rate scheduler from the optimizer.
        loss_fn: Loss, the mean over samples.
        steps_per_batch: Step the scheduler after each batch instead of each epoch.
        batch_size: Number of rows of a batch; None for all rows.
        shuffle: Draw a new order of the rows for each epoch.
        clip: Maximum norm of the gradients.
        epochs: Number of epochs.
        seed: Seed of the global generator: initial parameters, dropout and order of the batches.
        model: The model, once `run` has returned.
        train_loss, validation_loss, learning_rate: The history, one value for each epoch.
    """

    data: SplitData
    build: Callable[[], nn.Module]
    make_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    make_scheduler: Callable[[Optimizer], LRScheduler] | None = None
    loss_fn: nn.Module = field(default_factory=nn.MSELoss)
    steps_per_batch: bool = False
    batch_size: int | None = None
    shuffle: bool = True
    clip: float | None = None
    epochs: int = 1
    seed: int = 0
    model: nn.Module = field(init=False)
    train_loss: list[float] = field(init=False, default_factory=list)
    validation_loss: list[float] = field(init=False, default_factory=list)
    learning_rate: list[float] = field(init=False, default_factory=list)

    def run(self) -> Self:
        """Train; return the script with its model and history."""
        data, loss_fn = self.data, self.loss_fn
        torch.manual_seed(self.seed)
        self.model = model = self.build()
        optimizer = self.make_optimizer(model.parameters())
        scheduler = self.make_scheduler(optimizer) if self.make_scheduler else None

        def validate() -> float:
            model.eval()
            with torch.no_grad():
                value: float = loss_fn(model(data.x_val), data.y_val).item()
            model.train()
            return value

        def update(loss: Tensor) -> None:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.clip is not None:
                clip_grad_norm_(model.parameters(), self.clip)
            optimizer.step()
            if scheduler is not None and self.steps_per_batch:
                scheduler.step()

        rows = len(data.x_train)
        for _ in range(self.epochs):
            if self.batch_size is None:
                loss = loss_fn(model(data.x_train), data.y_train)
                self.train_loss.append(loss.item())
                self.validation_loss.append(validate())
                self.learning_rate.append(optimizer.param_groups[0]["lr"])
                update(loss)
            else:
                order = torch.randperm(rows) if self.shuffle else torch.arange(rows)  # [N]
                total = 0.0
                for batch in order.split(self.batch_size):
                    loss = loss_fn(model(data.x_train[batch]), data.y_train[batch])
                    total += len(batch) * loss.item()
                    learning_rate = optimizer.param_groups[0]["lr"]
                    update(loss)
                self.train_loss.append(total / rows)
                self.validation_loss.append(validate())
                self.learning_rate.append(learning_rate)
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self.validation_loss[-1])
            elif scheduler is not None and not self.steps_per_batch:
                scheduler.step()
        return self


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run PyTorch with `count` threads: their number changes the last bits of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def split_rows(rows: int, validation: float = 0.2) -> tuple[Tensor, Tensor]:
    """Row numbers of the training and validation split with seed 0."""
    n_val = int(validation * rows)
    shuffled_indices = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    return shuffled_indices[:-n_val], shuffled_indices[-n_val:]


def split_data(inputs: Tensor, targets: Tensor, validation: float = 0.2) -> SplitData:
    """The rows of the split with seed 0."""
    train, val = split_rows(len(inputs), validation)
    return SplitData(inputs[train], targets[train], inputs[val], targets[val])


def fit_thermometer(
    build: Callable[[], nn.Module],
    n_epochs: int,
    lr: float,
    seed: int = 0,
    clip: float | None = None,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
) -> Script:
    """Fit the thermometer of "Deep Learning with PyTorch": SGD on all rows at once."""
    data = split_data(0.1 * torch.tensor(T_U).unsqueeze(1), torch.tensor(T_C).unsqueeze(1))
    make_optimizer = partial(optim.SGD, lr=lr)
    return Script(data, build, make_optimizer, schedule, clip=clip, epochs=n_epochs, seed=seed).run()


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
    """Fit a classifier: Adam on shuffled batches.

    Args:
        inputs: Features float32 [N, features].
        targets: Classes int64 [N].
        loss_fn: Loss; `CrossEntropyLoss` without weights by default.
    """
    return Script(
        split_data(inputs, targets, validation),
        build,
        partial(optim.Adam, lr=lr),
        loss_fn=loss_fn or nn.CrossEntropyLoss(),
        batch_size=batch_size,
        epochs=n_epochs,
        seed=seed,
    ).run()


def assert_equal(service: Service, job: dict[str, Any], script: Script) -> None:
    """A job's history, parameters and gradients equal the script's, bit for bit."""
    history = service.history(job["id"])
    assert history["epochs"] == list(range(1, len(script.train_loss) + 1))
    assert history["train_loss"] == script.train_loss
    assert history["validation_loss"] == script.validation_loss
    assert history["learning_rate"] == script.learning_rate
    parameters = service.parameters(job["id"])
    assert {name: each["values"] for name, each in parameters.items()} == {
        name: parameter.tolist() for name, parameter in script.model.named_parameters()
    }
    assert {name: each["gradient"] for name, each in parameters.items()} == {
        name: parameter.grad.tolist() for name, parameter in script.model.named_parameters()
    }
