"""What is decided at the end of each epoch: is it the best so far, is it time to stop?"""

import math
from dataclasses import dataclass, field
from typing import Any

from service.specs.training import EarlyStopping, TrainingSpec


def monitored_value(spec: TrainingSpec, validates: bool) -> str | None:
    """Return the value that decides on the best epoch; None without early stopping and validation.

    Args:
        spec: The training section.
        validates: Whether there are validation samples.
    """
    if spec.early_stopping is not None:
        return spec.early_stopping.monitor
    return "validation_loss" if validates else None


@dataclass
class Monitor:
    """Follows one value over the epochs.

    An epoch improves when its value is < best − min_delta (for a metric where higher is better:
    > best + min_delta). `patience` epochs running without improvement stop the training.

    Attributes:
        value: `validation_loss`, `train_loss` or a metric's column name.
        higher_is_better: the direction of improvement.
        stopping: the early stopping asked for; None follows the best without ever stopping.
    """

    value: str
    higher_is_better: bool = False
    stopping: EarlyStopping | None = None
    best_epoch: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    epochs_without_improvement: int = 0

    def improves(self, epoch: int, values: dict[str, float]) -> bool:
        """Note the epoch's values; True when they are the best so far."""
        sign = -1.0 if self.higher_is_better else 1.0
        new, old = sign * values[self.value], sign * self.best.get(self.value, sign * math.inf)
        min_delta = self.stopping.min_delta if self.stopping else 0.0
        if new < old - min_delta:
            self.best_epoch, self.best, self.epochs_without_improvement = epoch, values, 0
            return True
        self.epochs_without_improvement += 1
        return False

    @property
    def stops(self) -> bool:
        """Whether patience has run out."""
        return self.stopping is not None and self.epochs_without_improvement >= self.stopping.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint must remember, as JSON."""
        return {
            "best_epoch": self.best_epoch,
            "best": self.best,
            "epochs_without_improvement": self.epochs_without_improvement,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a remembered state."""
        self.best_epoch = state["best_epoch"]
        self.best = state["best"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
