"""The monitor: best epoch and early stopping, decided at the end of each epoch."""

import math
from dataclasses import dataclass, field
from typing import Any

from service.specs.training import EarlyStopping, TrainingSpec


def monitored_value(spec: TrainingSpec, validates: bool) -> str | None:
    """Return the name of the value that determines the best epoch.

    This is the value of early stopping, otherwise the validation loss; None without both.

    Args:
        spec: The training section.
        validates: Whether there are validation samples.
    """
    if spec.early_stopping is not None:
        return spec.early_stopping.monitor
    return "validation_loss" if validates else None


@dataclass
class Monitor:
    """Finds the best epoch by one value, and stops the training when the value no longer improves.

    An epoch is an improvement if its value is < best − min_delta (if higher values are better:
    > best + min_delta). The training stops after `patience` consecutive epochs without improvement. An epoch
    in which the value is not finite (a metric that is undefined) counts as neither.

    Attributes:
        value: Name of the value: `validation_loss`, `train_loss`, or a metric as `validation_accuracy`.
        higher_is_better: Whether higher values are better.
        stopping: The early stopping section; None to never stop.
        best_epoch: Number of the best epoch, from 1; None before the first improvement.
        best: Values of the best epoch by name.
        epochs_without_improvement: Number of epochs with a value since the best.
    """

    value: str
    higher_is_better: bool = False
    stopping: EarlyStopping | None = None
    best_epoch: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    epochs_without_improvement: int = 0

    def update(self, epoch: int, values: dict[str, float]) -> bool:
        """Add the values of an epoch and return whether it is an improvement."""
        # With the sign, lower is better for every value; without a best epoch, `old` is +inf.
        sign = -1.0 if self.higher_is_better else 1.0
        new, old = sign * values[self.value], sign * self.best.get(self.value, sign * math.inf)
        if not math.isfinite(new):
            return False
        min_delta = self.stopping.min_delta if self.stopping else 0.0
        if new < old - min_delta:
            self.best_epoch, self.best, self.epochs_without_improvement = epoch, values, 0
            return True
        self.epochs_without_improvement += 1
        return False

    @property
    def should_stop(self) -> bool:
        """True after `patience` epochs without improvement."""
        return self.stopping is not None and self.epochs_without_improvement >= self.stopping.patience

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as JSON."""
        return {
            "best_epoch": self.best_epoch,
            "best": self.best,
            "epochs_without_improvement": self.epochs_without_improvement,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state`."""
        self.best_epoch = state["best_epoch"]
        self.best = state["best"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
