"""Inputs of the coming epochs of a training: sample orders, random draws of the passes, and hyperparameters.

PyTorch itself draws them outside of the program, one epoch after the other and in the order of the eager
engine: first the order of samples (`torch.randperm`), then the draws of each step, then those of the
validation. So their bits are those of the eager engine. The learning rate of `ReduceLROnPlateau` alone
depends on the losses: a program computes it, see `plateau`.

Epochs are drawn before they are trained, and a program may train fewer than were drawn (early stopping,
divergence). Each drawn epoch therefore keeps the states it was drawn from: a checkpoint at its start holds
these states, as if nothing had been drawn ahead.

Shapes in comments use the letters of `program`.
"""

from collections import deque
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.components import Components
from service.training.engines.compiled.draws import Draw, EpochDraws, draw_epoch, stack_draws
from service.training.engines.compiled.plateau import plateau_of
from service.training.optimizers import current_numbers
from service.training.schedulers import is_per_batch


@dataclass(frozen=True)
class DrawState:
    """The states that an epoch's inputs are drawn from.

    Attributes:
        rng: State of the generator of orders and draws.
        scheduler: `state_dict()` of the scheduler; None without one.
        param_groups: The optimizer's parameter groups, which a scheduler changes.
    """

    rng: Tensor
    scheduler: dict[str, Any] | None
    param_groups: list[dict[str, Any]]


@dataclass(frozen=True)
class DrawnEpoch:
    """The inputs of one epoch.

    Attributes:
        order: int32 [n], indices of the training rows; [0] with a full batch.
        numbers: float64 [1, H], or [S, H] where they change with each step: the numeric hyperparameters.
        draws: The results of the random draws of the passes.
        drawn_from: The states before the draw.
    """

    order: NDArray[np.int32]
    numbers: NDArray[np.float64]
    draws: EpochDraws[NDArray[Any]]
    drawn_from: DrawState


class EpochQueue:
    """Draws the inputs of a training's epochs and keeps those that were not trained yet.

    Invariant: the queue holds the inputs of consecutive epochs, the current one first. The generator and the
    scheduler are in their state after the last one.

    Args:
        components: The training's. Its scheduler is stepped here, its optimizer never: the program steps.
        rng: State of the generator that orders and random numbers are drawn from.
        draws: The random draws of an epoch.
    """

    def __init__(self, components: Components, rng: Tensor, draws: EpochDraws[Draw]) -> None:
        self._components = components
        # A state per training, which becomes that of the global generator (some operators draw from no other)
        # while its epochs are drawn: several trainings of a group draw from their own streams.
        self._rng = rng
        self._draws = draws
        self._queue: deque[DrawnEpoch] = deque()
        spec, self._batches = components.spec, components.batches
        self._per_step = is_per_batch(spec.scheduler)
        # None where the learning rate is constant, or computed by the program.
        self._scheduler = None if plateau_of(components.scheduler) else components.scheduler
        self._in_order = np.arange(0 if self._batches.is_full_batch else self._batches.rows, dtype=np.int32)
        self._shuffles = not self._batches.is_full_batch and spec.shuffle
        # Every epoch may have the same inputs, so that one serves all of them.
        self._is_constant = not self._shuffles and self._scheduler is None and not any(draws)
        self._constant: DrawnEpoch | None = None
        # A scheduler warns unless the optimizer was stepped first.
        components.optimizer._opt_called = True  # type: ignore[attr-defined]

    def peek(self, epochs: int) -> tuple[NDArray[np.int32], NDArray[np.float64], EpochDraws[NDArray[Any]]]:
        """Return the inputs of the current epoch and those after it; draw the missing ones.

        Returns:
            Orders int32 [epochs, n], or [epochs, 0] with a full batch; numbers float64 [epochs, 1 or S, H];
            draws, each [epochs, batches, …].
        """
        if self._is_constant:
            one = self._constant_epoch()
            return np.broadcast_to(one.order, (epochs, *one.order.shape)), self.numbers(epochs), one.draws
        if len(self._queue) < epochs:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._rng)
                self._queue.extend(self._draw() for _ in range(epochs - len(self._queue)))
                self._rng = torch.get_rng_state()
        drawn = list(islice(self._queue, epochs))
        orders, draws = np.stack([each.order for each in drawn]), stack_draws([each.draws for each in drawn])
        return orders, self.numbers(epochs), draws

    def numbers(self, epochs: int) -> NDArray[np.float64]:
        """Return the numbers of epochs that are drawn, [epochs, 1 or S, H]."""
        if self._is_constant:
            numbers = self._constant_epoch().numbers
            return np.broadcast_to(numbers, (epochs, *numbers.shape))
        return np.stack([each.numbers for each in islice(self._queue, epochs)])

    def _constant_epoch(self) -> DrawnEpoch:
        self._constant = self._constant or self._draw()
        return self._constant

    def pop(self, epochs: int) -> None:
        """Remove the first `epochs` epochs, which have been trained."""
        for _ in range(min(epochs, len(self._queue))):
            self._queue.popleft()

    def draw_state(self) -> DrawState:
        """Return the states that the current epoch was or will be drawn from."""
        now = self._draw_state(self._rng)
        if not self._queue:
            return now
        drawn_from = self._queue[0].drawn_from
        # Only a schedule that is drawn ahead is ahead of the current epoch.
        return drawn_from if self._scheduler is not None else replace(now, rng=drawn_from.rng)

    def _draw_state(self, rng: Tensor) -> DrawState:
        scheduler = self._components.scheduler
        param_groups = self._components.optimizer.state_dict()["param_groups"]
        if scheduler is None:
            return DrawState(rng, None, param_groups)
        # A scheduler changes its state and the parameter groups in place.
        return DrawState(rng, deepcopy(scheduler.state_dict()), deepcopy(param_groups))

    def _draw(self) -> DrawnEpoch:
        """Draw an epoch from the global generator."""
        drawn_from, order = self._draw_state(torch.get_rng_state()), self._in_order
        if self._shuffles:
            order = torch.randperm(self._batches.rows).numpy().astype(np.int32)
        draws = draw_epoch(self._draws, self._batches.full_batches)
        rows = [self._next_numbers() for _ in range(self._batches.steps_per_epoch if self._per_step else 1)]
        return DrawnEpoch(order, np.array(rows), draws, drawn_from)

    def _next_numbers(self) -> list[float]:
        """Return the optimizer's numbers [H], the learning rate first, then step the scheduler."""
        numbers = list(current_numbers(self._components.optimizer).values())
        if self._scheduler is not None:
            self._scheduler.step()
        return numbers
