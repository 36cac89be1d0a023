"""How a chunk of steps is executed."""

from typing import TYPE_CHECKING, Protocol

from service.datasets.prepare import Part
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.evaluation import Evaluation
from service.training.history import HistoryChunk

if TYPE_CHECKING:
    from service.training.engines.eager import Parts


class Engine(Protocol):
    """Executes a training, a number of steps at a time.

    A step is the least that an engine advances by: an optimizer step, or a whole epoch.

    Attributes:
        parts: what the training is made of.
        epoch: epochs completed.
        stop_reason: set when there is nothing left to do.
        steps_per_epoch: steps of one epoch.
        compile_seconds: what it took to get ready, beyond building the model.
    """

    parts: "Parts"
    epoch: int
    stop_reason: StopReason | None
    steps_per_epoch: int
    compile_seconds: float

    @property
    def steps_left(self) -> int:
        """Steps to the end of the epoch at hand; a whole epoch's between epochs."""

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` steps; the epochs that ended in them."""

    def checkpoint(self) -> Checkpoint:
        """The state now, also in the middle of an epoch."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint as if there had been no break; or begin with its parameters."""

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch, when one is followed."""

    def load_best(self) -> None:
        """Put the best epoch's parameters into the model."""

    def evaluate(self, samples: Part) -> Evaluation:
        """The loss and metrics of the model, in eval mode, without gradients."""
