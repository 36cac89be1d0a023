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

from collections.abc import Callable, Sequence

from torch import Tensor
from torchmetrics import Metric

from service.datasets.prepare.prefetch import Slices
from service.datasets.samples import Samples
from service.history import HistoryChunk
from service.training.assemble import seed_all
from service.training.checkpoints import Checkpoint, Tensors
from service.training.components import Components
from service.training.engines.eager.engine import NO_EVALUATION, EagerEngine, Validation
from service.training.engines.eager.ranks import Part, Ranks
from service.training.evaluation import Evaluation
from service.training.weighted_loss import loss_divisor, loss_weight

CHECKPOINT = 0


class RankEngine(EagerEngine):
    """The engine of one of several processes.

    Args:
        components: The training's, as assembled with the same seed in each process.
        ranks: The processes.
    """

    def __init__(self, components: Components, ranks: Ranks) -> None:
        for metric in components.metrics.values():
            for each in metric.modules():  # a metric may consist of others
                if isinstance(each, Metric):
                    each.distributed_available_fn = _never  # it would exchange its states
        super().__init__(components)
        self._ranks = ranks
        self._part: Part | None = None  # of the current batch
        if self._batches.is_full_batch and self._gatherer is None:
            self._full_batch = components.train.take(self._rows_of(0))

    def _draw_order(self) -> Tensor:
        order = super()._draw_order()
        self._ranks.share([order])
        return order

    def _rows_of(self, step: int) -> Tensor:
        return self._ranks.own_rows(*self._bounds_of(step), self._order)

    def _forward(self, batch: Samples) -> Tensor:
        """Return the loss [] of this process's rows of a batch; the first process measures all rows."""
        ranks = self._ranks
        # As `DistributedDataParallel` does: buffers are those of the first process.
        ranks.share([*self.components.model.buffers()])
        loss, outputs = self._passes.forward(batch)
        if self.components.metrics:
            start, end = self._bounds_of(self._step)
            gathered = {name: ranks.gather(output, end - start) for name, output in outputs.items()}
            if ranks.leads:
                whole = {name: output for name, output in gathered.items() if output is not None}
                self._measure(whole, self._targets(start, end), self.components.metrics)
        return loss

    def _targets(self, start: int, end: int) -> Tensor:
        """Return the targets [B, …] of a batch, which starts and ends at these positions of the epoch."""
        train = self.components.train
        rows = slice(start, end) if self._order is None else self._order[start:end]
        targets = train.targets[rows if train.order is None else train.order[rows]]
        return targets.to(self.components.device)

    def _add_loss(self, loss: Tensor, batch: Samples) -> None:
        """Keep the loss [] of this process's rows until it is averaged, for batches with the gradients."""
        loss_fn, has_rows = self.components.loss_fn, self._ranks.has_rows(*self._bounds_of(self._step))
        divisor = loss_divisor(loss_fn, batch, self._ignores)
        weight = loss_weight(loss_fn, batch, self._ignores)
        self._part = Part(loss, divisor * has_rows, weight * has_rows)
        if self._batches.is_full_batch:
            self._losses.add(*self._ranks.average([], self._part))

    def _backward(self, loss: Tensor) -> None:
        def average(gradients: Sequence[Tensor]) -> None:
            assert self._part is not None
            whole = self._ranks.average(gradients, self._part)
            if not self._batches.is_full_batch:
                self._losses.add(*whole)

        self._passes.backward(loss, average)

    def _agreed(self, values: dict[str, float]) -> dict[str, float]:
        return dict(zip(values, self._ranks.equal([*values.values()]), strict=True))

    def _rng(self) -> Tensors:
        return self._ranks.gather_states(super()._rng())

    def _restore_rng(self, states: Tensors) -> None:
        if own := self._ranks.own_states(states):
            super()._restore_rng(own)


class LeadingEngine(RankEngine):
    """The engine of the first process, whose calls the others repeat."""

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` optimizer steps in all processes. See `EagerEngine`."""
        self._ranks.command(steps)
        return super().advance(steps)

    def checkpoint(self) -> Checkpoint:
        """Return the current state, with the states of the generators of all processes."""
        self._ranks.command(CHECKPOINT)
        return super().checkpoint()


class FollowingEngine(RankEngine):
    """The engine of another process, which does not evaluate and keeps no best epoch."""

    def __init__(self, components: Components, ranks: Ranks) -> None:
        seed_all((components.spec.seed or 0) + ranks.rank, components.device)
        super().__init__(components, ranks)

    def follow(self) -> None:
        """Follow the commands of the first process.

        Raises:
            RankLost: The first process has ended the training, or another one has failed.
        """
        while True:
            steps = self._ranks.command()
            if steps == CHECKPOINT:
                self.checkpoint()
            else:
                self.advance(steps)

    def _evaluate_next(self, validation: Validation) -> None:
        pass

    def _evaluate(self, slices: Slices, on_slice: Callable[[], None] | None = None) -> Evaluation:
        return NO_EVALUATION

    def _keep_best(self) -> None:
        pass


def _never() -> bool:
    return False
