"""The compiled engine: the eager loop as one XLA program, for one training or several side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from service.datasets.samples import Samples
from service.history import LEARNING_RATE, HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.components import Components
from service.training.engines.compiled.checkpoint_conversion import Exchange
from service.training.engines.compiled.epoch_inputs import Schedule
from service.training.engines.compiled.program import (
    DIVERGED,
    ENDED,
    OUT_OF_PATIENCE,
    Ahead,
    Job,
    Marks,
    Rows,
    State,
)
from service.training.engines.compiled.program_cache import Programs
from service.training.engines.eager.engine import EagerEngine
from service.training.evaluation import Evaluation

_REASONS = {DIVERGED: StopReason.DIVERGED, OUT_OF_PATIENCE: StopReason.EARLY_STOPPING}
# Programs for several trainings round alike, however many those are; one for a lone training may not.
SEVERAL = 2


class Member:
    """One of the trainings of a group: all of an engine but the advance, which the group makes for all.

    Attributes:
        components: the training's. The model in it is written to by `load_best` and `evaluate` only.
        epoch: epochs completed.
        stop_reason: set when there is nothing left to do.
        compile_seconds: what it waited for tracing and compiling.
        side_by_side: whether its program has several places.
    """

    side_by_side = False

    def __init__(self, components: Components, programs: Programs) -> None:
        before = programs.compile_seconds
        self.components = components
        self.epoch = 0
        self.stop_reason: StopReason | None = None
        self.plan = programs.plan(components)
        self.compile_seconds = programs.compile_seconds - before
        self._exchange = Exchange(self.plan, components)
        self._eager = EagerEngine(components)
        self._columns = self._eager.columns
        self._before = self._beginning()
        self._schedule = Schedule(components, self._before.rng["cpu"])
        self._state: State | None = None
        self._shown: Snapshot | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint as if there had been no break; before the first advance only."""
        self._eager.restore(checkpoint)
        self.epoch, self.stop_reason = self._eager.epoch, self._eager.stop_reason
        # One that holds only parameters to begin with is made whole by the eager engine.
        self._before = self._beginning() if checkpoint.optimizer is None else checkpoint
        self._schedule = Schedule(self.components, self._before.rng["cpu"])

    def _beginning(self) -> Checkpoint:
        """The state before the first epoch; other trainings may have been assembled since."""
        checkpoint = self._eager.checkpoint()
        return replace(checkpoint, rng={**checkpoint.rng, "cpu": self.components.rng})

    @property
    def is_within_epoch(self) -> bool:
        """Whether it was restored from a checkpoint in the middle of an epoch, and has not gone on yet."""
        return self._eager.steps_left < self._eager.steps_per_epoch

    def _end_of_epoch(self) -> HistoryChunk | None:
        """Train on to the end of an epoch that another engine has begun, as that one would."""
        chunk = self._eager.advance(self._eager.steps_left)
        self.epoch, self.stop_reason = self._eager.epoch, self._eager.stop_reason
        self._before = self._eager.checkpoint()
        self._schedule = Schedule(self.components, self._before.rng["cpu"])
        return chunk

    def start(self) -> tuple[State, Job]:
        """What the program takes of this training, as NumPy arrays."""
        components, stopping = self.components, self.components.spec.early_stopping
        limits = [
            components.spec.gradient_clip_norm or np.inf,
            stopping.patience if stopping is not None else np.inf,
            stopping.min_delta if stopping is not None else 0.0,
        ]
        job = Job(
            self._exchange.others,
            _rows(components.train),
            None if components.validation is None else _rows(components.validation),
            *map(np.float64, limits),
        )
        return self._exchange.state_of(self._before, components.monitor), job

    def ahead(self, epochs: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """What the next epochs take from outside: orders and numbers, see `Schedule.ahead`."""
        return self._schedule.ahead(epochs)

    def take(self, state: State, rows: NDArray[np.float64]) -> HistoryChunk | None:
        """Note where the program has come to.

        Args:
            state: NumPy arrays.
            rows: float64 [epochs, columns] of the epochs that ended, and beyond.
        """
        marks = Marks(*state.marks.tolist())
        first, self.epoch, self._state, self._shown = self.epoch + 1, int(marks.epoch), state, None
        ended = self.epoch + 1 - first
        self.stop_reason = _REASONS.get(int(marks.ended))
        if self.stop_reason is None and self.epoch >= self.components.spec.epochs:
            self.stop_reason = StopReason.COMPLETED
        if ended == 0:
            return None
        _, numbers = self._schedule.ahead(ended)
        rates = numbers[:, -1, 0]  # of each epoch's last step
        self._schedule.over(ended)
        values = rows[:ended].T.copy()  # [columns, epochs]
        values[self._columns.index(LEARNING_RATE)] = rates
        chunk = HistoryChunk(first, self._columns, np.where(np.isfinite(values), values, np.nan))
        self._note_best(marks, chunk)
        return chunk

    def _note_best(self, marks: Marks, chunk: HistoryChunk) -> None:
        monitor, epoch = self.components.monitor, int(marks.best_epoch)
        if monitor is None:
            return
        monitor.epochs_without_improvement = int(marks.waited)
        if epoch >= chunk.first_epoch:
            values = chunk.values[:, epoch - chunk.first_epoch].tolist()
            monitor.best_epoch = epoch
            monitor.best = dict(zip(chunk.columns, values, strict=True))

    def checkpoint(self) -> Checkpoint:
        """The state after the last epoch that ended."""
        checkpoint = self._before
        if self._state is not None:
            sources = self._schedule.sources()
            checkpoint = self._exchange.checkpoint_of(
                self._state, sources, self._before, self.components.monitor
            )
        return replace(checkpoint, side_by_side=self.side_by_side)

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch, when one is followed."""
        return self._before.best if self._state is None else self._exchange.best_of(self._state)

    def load_best(self) -> None:
        """Evaluate the best epoch's parameters from now on."""
        self._shown = self.best

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """The loss and metrics of the parameters, in eval mode, without gradients."""
        shown = self._shown or self.checkpoint().last
        self.components.model.load_state_dict(shown.state)
        return self._eager.evaluate(samples, on_slice)


class Group:
    """Trainings of the same kind, side by side in one program; all begin at the same epoch.

    A step of it is an epoch of each member.

    Args:
        members: of one signature, not advanced yet.
        programs: where the program comes from; it is compiled now, if it wasn't before.
        size: places in the program; those beyond the members stay empty.
    """

    steps_per_epoch = 1
    steps_left = 1

    def __init__(self, members: Sequence[Member], programs: Programs, size: int | None = None) -> None:
        self.members = members
        self._size = size or len(members)
        self._plan = members[0].plan
        self._states: Any = None
        self._jobs: Any = None
        if len({member.components.program_key for member in members}) > 1:
            raise ValueError("These trainings are not of one kind.")
        before = programs.compile_seconds
        self._run = programs.run(members[0].components, self._sample, self._size)
        for member in members:
            member.compile_seconds += programs.compile_seconds - before
            member.side_by_side = self._size > 1

    def _sample(self) -> tuple[Any, ...]:
        """What the program is called with, as to shapes and dtypes."""
        return (*_stacked([self.members[0].start()] * self._size), self._ahead(1), np.int64(1))

    def _start(self) -> Any:
        """The members' states and jobs; an empty place has the first one's, ended."""
        starts = [member.start() for member in self.members]
        state, job = starts[0]
        empty = Marks(*state.marks)._replace(ended=ENDED)
        starts += [(state._replace(marks=np.array(empty)), job)] * (self._size - len(starts))
        return jax.device_put(_stacked(starts))

    @property
    def stop_reason(self) -> StopReason | None:
        """Set when no member goes on."""
        return self.members[0].stop_reason if self._going() is None else None

    @property
    def epoch(self) -> int:
        """Epochs completed by those that go on."""
        return (self._going() or self.members[0]).epoch

    def _going(self) -> Member | None:
        return next((member for member in self.members if member.stop_reason is None), None)

    def stop(self, place: int, reason: StopReason) -> None:
        """Let the member at a place train no further."""
        self.members[place].stop_reason = reason
        if self._states is not None:
            marks = np.array(self._states.marks)
            marks[place, Marks._fields.index("ended")] = ENDED
            self._states = self._states._replace(marks=jax.device_put(marks))

    def advance(self, epochs: int) -> list[HistoryChunk | None]:
        """Train each member that goes on for up to so many epochs.

        Returns:
            By member, the epochs that ended in them; None for one that had ended before.
        """
        if self._states is None:
            self._states, self._jobs = self._start()
        going = self._going()
        assert going is not None
        epochs = min(epochs, going.components.spec.epochs - going.epoch, self._plan.capacity)
        self._states, rows = self._run(self._states, self._jobs, self._ahead(epochs), np.int64(epochs))
        states, values = jax.device_get((self._states, rows))
        apart = [State(*jax.tree.map(itemgetter(place), states)) for place in range(len(self.members))]
        return [
            member.take(state, values[:, place]) if member.stop_reason is None else None
            for place, (member, state) in enumerate(zip(self.members, apart, strict=True))
        ]

    def _ahead(self, epochs: int) -> Ahead:
        """What the program takes for so many epochs, at its full capacity."""
        plan = self._plan
        per_epoch = plan.batches.steps_per_epoch if plan.numbers_per_step else 1
        orders = np.zeros((self._size, plan.capacity, plan.order_size), np.int32)
        numbers = np.zeros((self._size, plan.capacity * per_epoch, len(plan.numbers)))
        for place, member in enumerate(self.members):
            if member.stop_reason is None:
                orders[place, :epochs], drawn = member.ahead(epochs)
                numbers[place, : epochs * per_epoch] = drawn.reshape(epochs * per_epoch, -1)
        return Ahead(orders, numbers)


class CompiledEngine(Member):
    """An engine that runs one training: a group of one, which takes no less than a whole epoch at a time."""

    steps_per_epoch = 1
    steps_left = 1

    def __init__(self, components: Components, programs: Programs) -> None:
        super().__init__(components, programs)
        self._programs = programs
        self._group = Group([self], programs)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; as a member of a group with the bits that it would have had there."""
        super().restore(checkpoint)
        if checkpoint.side_by_side:
            self._group = Group([self], self._programs, SEVERAL)

    def advance(self, steps: int) -> HistoryChunk | None:
        """Train for up to so many epochs."""
        return self._end_of_epoch() if self.is_within_epoch else self._group.advance(steps)[0]


def _rows(samples: Samples) -> Rows:
    return Rows(tuple(x.cpu().numpy() for x in samples.inputs), samples.targets.cpu().numpy())


def _stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one tree whose arrays begin with a dimension for the trees."""
    return jax.tree.map(lambda *arrays: np.stack(arrays), *trees)
