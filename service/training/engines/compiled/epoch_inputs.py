"""What the coming epochs of a training take from outside its program: orders of samples, and numbers.

Both are made by PyTorch itself, `torch.randperm` and the schedulers, one epoch after the other. Epochs may be
drawn ahead of being trained, so each remembers what it was drawn from: a checkpoint at its beginning is that
of a training that has drawn nothing ahead.
"""

from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.components import Components
from service.training.optimizers import current_numbers
from service.training.schedulers import is_per_batch


@dataclass(frozen=True)
class Sources:
    """What an epoch is drawn from.

    Attributes:
        rng: the state of the generator of orders.
        scheduler: its `state_dict()`.
        groups: the optimizer's parameter groups, which a scheduler writes to.
    """

    rng: Tensor
    scheduler: dict[str, Any] | None
    groups: list[dict[str, Any]]


@dataclass(frozen=True)
class Epoch:
    """One epoch that was drawn.

    Attributes:
        order: int32 [n], of samples; [0] with a full batch.
        numbers: float64 [1 or steps, numbers]: the optimizer's, for the epoch or for each of its steps.
        sources: what it was drawn from.
    """

    order: NDArray[np.int32]
    numbers: NDArray[np.float64]
    sources: Sources


class Schedule:
    """Draws the epochs of one training.

    Args:
        components: the training's. Its scheduler is stepped here, its optimizer never.
        rng: the state of the generator that orders are drawn from.
    """

    def __init__(self, components: Components, rng: Tensor) -> None:
        self._components = components
        self._generator = torch.Generator()
        self._generator.set_state(rng)
        self._drawn: deque[Epoch] = deque()
        spec, self._batches = components.spec, components.batches
        self._per_step = is_per_batch(spec.scheduler)
        self._in_order = np.arange(0 if self._batches.is_full_batch else self._batches.rows, dtype=np.int32)
        self._shuffles = not self._batches.is_full_batch and spec.shuffle
        self._every: Epoch | None = None
        # A scheduler warns unless the optimizer was stepped first: here, the program steps.
        components.optimizer._opt_called = True  # type: ignore[attr-defined]

    def ahead(self, epochs: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The epoch at hand and those after it.

        Returns:
            Orders [epochs, n or 0] and numbers [epochs, 1 or steps, numbers].
        """
        if not self._shuffles and self._components.scheduler is None:  # all are the same
            one = self._every = self._every or self._draw()
            order = np.broadcast_to(one.order, (epochs, *one.order.shape))
            return order, np.broadcast_to(one.numbers, (epochs, *one.numbers.shape))
        while len(self._drawn) < epochs:
            self._drawn.append(self._draw())
        drawn = list(islice(self._drawn, epochs))
        return np.stack([epoch.order for epoch in drawn]), np.stack([epoch.numbers for epoch in drawn])

    def over(self, epochs: int) -> None:
        """So many epochs have ended."""
        for _ in range(min(epochs, len(self._drawn))):
            self._drawn.popleft()

    def sources(self) -> Sources:
        """What the epoch at hand is, or will be, drawn from."""
        return self._drawn[0].sources if self._drawn else self._sources()

    def _sources(self) -> Sources:
        scheduler = self._components.scheduler
        groups = self._components.optimizer.state_dict()["param_groups"]
        if scheduler is None:
            return Sources(self._generator.get_state(), None, groups)
        return Sources(self._generator.get_state(), deepcopy(scheduler.state_dict()), deepcopy(groups))

    def _draw(self) -> Epoch:
        sources, order = self._sources(), self._in_order
        if self._shuffles:
            order = torch.randperm(self._batches.rows, generator=self._generator).numpy().astype(np.int32)
        rows = [self._numbers() for _ in range(self._batches.steps_per_epoch if self._per_step else 1)]
        return Epoch(order, np.array(rows), sources)

    def _numbers(self) -> list[float]:
        """The optimizer's numbers now, the learning rate first; the scheduler goes on from them."""
        numbers = list(current_numbers(self._components.optimizer).values())
        if self._components.scheduler is not None:
            self._components.scheduler.step()
        return numbers
