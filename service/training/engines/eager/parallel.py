"""Data-parallel training: several processes share each batch of one training.

Every process has the whole data and a copy of the model, and takes the same steps, each with every n-th row
of a batch. Gradients are averaged, weighted as the loss weights the rows, so that losses and parameters are
those of one process up to rounding, unless the model draws random numbers or normalizes by the statistics of
a batch: then each process does so for its own rows. This is the method of
`torch.nn.parallel.DistributedDataParallel` (https://docs.pytorch.org/docs/stable/notes/ddp.html), with one
exchange after the backward pass, which also serves losses that differentiate by the inputs, batches that
don't divide evenly, and unused parameters.

The first process leads: it measures, evaluates, and decides how many steps follow and when a checkpoint is
taken. The others follow its commands.
"""

from service.history import HistoryChunk
from service.training.assemble import seed_all
from service.training.checkpoints import Checkpoint
from service.training.components import Components
from service.training.engines.base import Engine
from service.training.engines.eager.engine import EagerEngine
from service.training.engines.eager.ranks import Ranks

CHECKPOINT = 0


class LeadingEngine(EagerEngine):
    """The engine of the first process.

    Args:
        components: The training's.
        ranks: The processes.
    """

    def __init__(self, components: Components, ranks: Ranks) -> None:
        super().__init__(components, ranks=ranks)
        self._followers = ranks

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` optimizer steps in all processes. See `EagerEngine`."""
        self._followers.command(steps)
        return super().advance(steps)

    def checkpoint(self) -> Checkpoint:
        """Return the current state, with the states of the generators of all processes."""
        self._followers.command(CHECKPOINT)
        return super().checkpoint()


def make_engine(components: Components, ranks: Ranks) -> EagerEngine:
    """Make the engine of one of the processes of a training.

    Args:
        components: The training's, as assembled with the same seed in each process.
        ranks: The processes.
    """
    for metric in components.metrics.values():
        for part in metric.modules():  # a metric may consist of others
            part.distributed_available_fn = _never  # type: ignore[assignment]  # torchmetrics would sync
    if ranks.leads:
        return LeadingEngine(components, ranks)
    seed_all((components.spec.seed or 0) + ranks.rank, components.device)
    return EagerEngine(components, ranks=ranks)


def _never() -> bool:
    return False


def follow(engine: Engine, ranks: Ranks) -> None:
    """Follow the commands of the first process.

    Raises:
        RankLost: The first process has ended the training, or another one has failed.
    """
    while True:
        steps = ranks.command()
        if steps == CHECKPOINT:
            engine.checkpoint()
        else:
            engine.advance(steps)
