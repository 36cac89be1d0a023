"""How a chunk of steps is executed."""

from typing import Protocol

from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint
from service.training.history import HistoryChunk


class Engine(Protocol):
    """Executes a training, a number of steps at a time.

    Attributes:
        epoch: epochs completed.
        stop_reason: set when there is nothing left to do.
        steps_per_epoch: optimizer steps of one epoch.
    """

    epoch: int
    stop_reason: StopReason | None
    steps_per_epoch: int

    @property
    def steps_left(self) -> int:
        """Steps to the end of the epoch at hand; a whole epoch's between epochs."""

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` optimizer steps; the epochs that ended in them."""

    def checkpoint(self) -> Checkpoint:
        """The state now, also in the middle of an epoch."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint as if there had been no break; or begin with its parameters."""
