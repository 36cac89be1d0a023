"""`ReduceLROnPlateau` in a program: a learning rate that depends on the losses of the epochs before.

Other schedules are drawn ahead by PyTorch (see `epoch_inputs`). A program carries this one in its state.
Its options are numbers, flags among them, so that jobs with other options share a program.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


class PlateauState(NamedTuple):
    """What an epoch changes, packed into one float64 array.

    Attributes:
        learning_rate: Learning rate of the next step.
        best: The best loss; ±infinity before the first epoch.
        bad_epochs: Epochs without improvement that count.
        cooldown_left: Epochs left in which none counts.
    """

    learning_rate: Any
    best: Any
    bad_epochs: Any
    cooldown_left: Any


class PlateauOptions(NamedTuple):
    """The arguments of the scheduler, packed into one float64 array.

    Attributes:
        sign: 1 where lower values are better (`mode="min"`), −1 otherwise.
        is_relative: 1 for `threshold_mode="rel"`, 0 for `abs`.
        threshold: The least improvement.
        patience: Bad epochs that are tolerated.
        cooldown: Epochs after a reduction in which none counts.
        factor: Factor of a reduction.
        min_lr: The least learning rate.
        eps: The least reduction.
    """

    sign: Any
    is_relative: Any
    threshold: Any
    patience: Any
    cooldown: Any
    factor: Any
    min_lr: Any
    eps: Any


def plateau_of(scheduler: LRScheduler | None) -> ReduceLROnPlateau | None:
    """Return a scheduler if it is one that a program carries."""
    return scheduler if isinstance(scheduler, ReduceLROnPlateau) else None


def plateau_options(scheduler: ReduceLROnPlateau) -> NDArray[np.float64]:
    """Return the options of a scheduler as an array [8]."""
    options = PlateauOptions(
        sign=1 if scheduler.mode == "min" else -1,
        is_relative=scheduler.threshold_mode == "rel",
        threshold=scheduler.threshold,
        patience=scheduler.patience,
        cooldown=scheduler.cooldown,
        factor=scheduler.factor,
        min_lr=scheduler.min_lrs[0],
        eps=scheduler.eps,
    )
    return np.array(options, np.float64)


def plateau_state(scheduler: ReduceLROnPlateau, optimizer: Optimizer) -> NDArray[np.float64]:
    """Return the state of a scheduler and the learning rate of its optimizer as an array [4]."""
    rate = optimizer.param_groups[0]["lr"]
    state = PlateauState(rate, scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter)
    return np.array(state, np.float64)


def set_plateau(
    scheduler: ReduceLROnPlateau, optimizer: Optimizer, state: NDArray[np.float64], epochs: int
) -> None:
    """Set the state of a scheduler and the learning rate of its optimizer to those of a program.

    Args:
        scheduler: The scheduler.
        optimizer: Its optimizer.
        state: The state [4] after the last epoch.
        epochs: Number of epochs whose losses the program gave to the schedule since the last call.
    """
    found = PlateauState(*state.tolist())
    scheduler.best = found.best
    scheduler.num_bad_epochs, scheduler.cooldown_counter = int(found.bad_epochs), int(found.cooldown_left)
    scheduler.last_epoch += epochs
    scheduler._last_lr = [found.learning_rate]
    optimizer.param_groups[0]["lr"] = found.learning_rate


def step_plateau(state: Array, options: Array, loss: Array) -> Array:
    """Return the state [4] after an epoch, as `ReduceLROnPlateau.step` does.

    Args:
        state: The state before, [4].
        options: The options, [8].
        loss: The loss of the epoch, float64 [].
    """
    now, given = PlateauState(*state), PlateauOptions(*options)
    # With the sign, lower is better.
    value, best = given.sign * loss, given.sign * now.best
    relative_limit = best * (1 - given.sign * given.threshold)
    improves = value < jnp.where(given.is_relative > 0, relative_limit, best - given.threshold)
    cools = now.cooldown_left > 0
    bad_epochs = jnp.where(improves | cools, 0, now.bad_epochs + 1)
    reduces = bad_epochs > given.patience
    reduced = jnp.maximum(now.learning_rate * given.factor, given.min_lr)
    changes = reduces & (now.learning_rate - reduced > given.eps)
    following = PlateauState(
        learning_rate=jnp.where(changes, reduced, now.learning_rate),
        best=jnp.where(improves, loss, now.best),
        bad_epochs=jnp.where(reduces, 0, bad_epochs),
        cooldown_left=jnp.where(reduces, given.cooldown, now.cooldown_left - cools),
    )
    return jnp.stack([jnp.asarray(number, jnp.float64) for number in following])
