"""The compiled engine: the training loop as one XLA program, for one training or for several side by side.

A `Group` owns a program and the arrays it works on; a `Member` is one training of the group. The group calls
the program for up to `Plan.capacity` epochs at a time and hands each member its state and its rows of
history. A `CompiledEngine` is a member that is alone in its group.

The dimension K of a program has one slot per member. Slots beyond the members hold a copy of the first member
with the status `STOPPED`, so that a few sizes (`base.GROUP_SIZES`) serve groups of any size without compiling
again. A program computes the slots of stopped members, too, and discards the results: a group continues in a
smaller program when one that is compiled has room for the members that still train.

Shapes in comments use the letters of `program`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import jax
import numpy as np
import torch
from numpy.typing import NDArray

from service.datasets.samples import Samples
from service.history import LEARNING_RATE, HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.components import Components
from service.training.engines.base import GROUP_SIZES
from service.training.engines.compiled.checkpoint_conversion import CheckpointConverter
from service.training.engines.compiled.draws import EpochDraws, empty_draws
from service.training.engines.compiled.epoch_inputs import EpochQueue
from service.training.engines.compiled.metrics import metric_numbers
from service.training.engines.compiled.plateau import plateau_of, plateau_options, plateau_state, set_plateau
from service.training.engines.compiled.program import (
    DIVERGED,
    OUT_OF_PATIENCE,
    STOPPED,
    Constants,
    EpochInputs,
    SampleArrays,
    Scalars,
    State,
)
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.compiled.unit_conversion import unit_constants
from service.training.engines.eager.engine import EagerEngine
from service.training.evaluation import Evaluation

_STOP_REASONS = {DIVERGED: StopReason.DIVERGED, OUT_OF_PATIENCE: StopReason.EARLY_STOPPING}
# Programs for two or more jobs round alike, however many jobs; the program for one job, which has no batch
# dimension, may round differently.
SMALLEST_GROUP = 2


class Member:
    """One training of a group. Implements the `Training` protocol; the group advances it.

    Args:
        components: The training's.
        programs: The cache of plans and programs.

    Attributes:
        components: The training's. A program does not change the model; `evaluate` loads parameters into it.
        epoch: Epochs completed.
        stop_reason: The reason why training has ended; None while it continues.
        compile_seconds: Seconds spent waiting for tracing and compiling.
        plan: The plan of its program.
        side_by_side: Whether its program has several slots.
    """

    side_by_side = False

    def __init__(self, components: Components, programs: ProgramCache) -> None:
        before = programs.compile_seconds
        self.components = components
        self.epoch = 0
        self.stop_reason: StopReason | None = None
        self.plan = programs.plan(components)
        self.compile_seconds = programs.compile_seconds - before
        self._converter = CheckpointConverter(self.plan, components)
        # Evaluates, reads checkpoints and finishes partial epochs.
        self._eager = EagerEngine(components)
        self._columns = self._eager.columns
        # The checkpoint from which the program starts; it has the values that the program does not change.
        self._origin = self._initial_checkpoint()
        self._queue = self._new_queue()
        self._plateau = plateau_of(components.scheduler)
        self._state: State | None = None  # of this training, after the last call of the program
        self._best_to_evaluate: Snapshot | None = None  # set by `load_best`

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint, or start with its parameters. Call it before the first advance only."""
        self._eager.restore(checkpoint)
        self.epoch, self.stop_reason = self._eager.epoch, self._eager.stop_reason
        # The eager engine completes a checkpoint that holds parameters only.
        self._origin = self._initial_checkpoint() if checkpoint.optimizer is None else checkpoint
        self._queue = self._new_queue()

    def _initial_checkpoint(self) -> Checkpoint:
        """Return the state before the first epoch.

        Other trainings may have been assembled since this one, and their initial parameters have advanced the
        global generator: the state that follows this training's own assembly is in the components.
        """
        checkpoint = self._eager.checkpoint()
        return replace(checkpoint, rng={**checkpoint.rng, "cpu": self.components.rng})

    def _new_queue(self) -> EpochQueue:
        """Return the inputs of the epochs after the checkpoint from which the program starts."""
        return EpochQueue(self.components, self._origin.rng["cpu"], self.plan.draws)

    @property
    def has_partial_epoch(self) -> bool:
        """True from a restore in the middle of an epoch until that epoch is finished."""
        return self._eager.steps_left < self._eager.steps_per_epoch

    def _finish_partial_epoch(self) -> HistoryChunk | None:
        """Train to the end of an epoch that the eager engine started, with that engine.

        A program runs whole epochs only.
        """
        chunk = self._eager.advance(self._eager.steps_left)
        self.epoch, self.stop_reason = self._eager.epoch, self._eager.stop_reason
        self._origin = self._eager.checkpoint()
        self._queue = self._new_queue()
        return chunk

    def program_arguments(self) -> tuple[State, Constants]:
        """Return the state and the constants of this training, as NumPy arrays without the dimension K."""
        components, stopping = self.components, self.components.spec.early_stopping
        units = components.units
        constants = Constants(
            untrained=self._converter.untrained,
            train=_sample_arrays(components.train),
            validation=None if components.validation is None else _sample_arrays(components.validation),
            max_norm=np.float64(components.spec.gradient_clip_norm or np.inf),
            origin=_origin(components.train),
            metrics=metric_numbers(components),
            patience=np.float64(np.inf if stopping is None else stopping.patience),
            min_delta=np.float64(0.0 if stopping is None else stopping.min_delta),
            units=None if units is None or not units.computed else unit_constants(units),
            plateau=None if self._plateau is None else plateau_options(self._plateau),
        )
        state = self._converter.to_state(self._origin, components.monitor)
        if self._plateau is not None:
            state = state._replace(plateau=plateau_state(self._plateau, components.optimizer))
        return state, constants

    def epoch_inputs(
        self, epochs: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], EpochDraws[NDArray[Any]]]:
        """Return orders, numbers and draws of the next epochs, see `EpochQueue.peek`."""
        return self._queue.peek(epochs)

    def record(self, state: State, history: NDArray[np.float64]) -> HistoryChunk | None:
        """Take over the results of a call of the program.

        Args:
            state: NumPy arrays of this training.
            history: float64 [E, C]. The first rows are those of the epochs that ended; the others have no
                meaning.

        Returns:
            The epochs that ended in the call; None if none did.
        """
        scalars = Scalars(*state.scalars.tolist())
        first_epoch, self.epoch = self.epoch + 1, int(scalars.epoch)
        self._state, self._best_to_evaluate = state, None
        ended = self.epoch + 1 - first_epoch
        self.stop_reason = _STOP_REASONS.get(int(scalars.status))
        if self.stop_reason is None and self.epoch >= self.components.spec.epochs:
            self.stop_reason = StopReason.COMPLETED
        if ended == 0:
            return None
        values = history[:ended].T.copy()  # [C, ended]
        if self._plateau is None:
            numbers = self._queue.numbers(ended)  # [ended, 1 or S, H]
            values[self._columns.index(LEARNING_RATE)] = numbers[:, -1, 0]  # those of each epoch's last step
        else:
            stepped = ended - (self.stop_reason is StopReason.DIVERGED)
            set_plateau(self._plateau, self.components.optimizer, state.plateau, stepped)
        self._queue.pop(ended)
        chunk = HistoryChunk(first_epoch, self._columns, np.where(np.isfinite(values), values, np.nan))
        self._update_monitor(scalars, chunk)
        return chunk

    def _update_monitor(self, scalars: Scalars, chunk: HistoryChunk) -> None:
        """Copy the program's decisions about the best epoch into the training's monitor."""
        monitor, best_epoch = self.components.monitor, int(scalars.best_epoch)
        if monitor is None:
            return
        monitor.epochs_without_improvement = int(scalars.epochs_without_improvement)
        if best_epoch >= chunk.first_epoch:
            values = chunk.values[:, best_epoch - chunk.first_epoch].tolist()
            monitor.best_epoch = best_epoch
            monitor.best = dict(zip(chunk.columns, values, strict=True))

    def checkpoint(self) -> Checkpoint:
        """Return the state after the last completed epoch."""
        checkpoint = self._origin
        if self._state is not None:
            checkpoint = self._converter.to_checkpoint(
                self._state, self._queue.draw_state(), self._origin, self.components.monitor
            )
        return replace(checkpoint, side_by_side=self.side_by_side)

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch; None before the first one or when no epoch is monitored."""
        return self._origin.best if self._state is None else self._converter.best_snapshot(self._state)

    def load_best(self) -> None:
        """Evaluate the parameters of the best epoch from now on."""
        self._best_to_evaluate = self.best

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """Compute loss and metrics of the last or loaded parameters, in eval mode, without gradients."""
        snapshot = self._best_to_evaluate or self.checkpoint().last
        self.components.model.load_state_dict(snapshot.state)
        torch.set_rng_state(self._queue.draw_state().rng)  # a forward pass may draw in eval mode, too
        return self._eager.evaluate(samples, on_slice)


class Group:
    """Trains members side by side in one program. Implements the `Group` protocol; a step is one epoch.

    Invariants: members that still train are at the same epoch, since they start at the same one and each call
    trains all of them for the same number of epochs. Each of them has a slot; those that have stopped may
    have none.

    Args:
        members: Trainings of equal program keys that have not been advanced yet.
        programs: The cache that the program comes from; it is compiled now unless cached.
        size: Number of slots of the program, K; by default as many as members.

    Attributes:
        size: Number of slots of the current program.

    Raises:
        ValueError: The program keys differ.
    """

    steps_per_epoch = 1
    steps_left = 1

    def __init__(self, members: Sequence[Member], programs: ProgramCache, size: int | None = None) -> None:
        self.members = members
        self._programs = programs
        self._slots = [*members]  # the members in the first slots
        self.size = size or len(members)
        self._plan = members[0].plan
        self._states: Any = None  # `State`, each array [K, …] on the device
        self._constants: Any = None  # `Constants`, likewise
        if len({member.components.program_key for member in members}) > 1:
            raise ValueError("The trainings of a group must have equal program keys.")
        before = programs.compile_seconds
        self._program = programs.program(members[0].components, self._example_arguments, self.size)
        for member in members:
            member.compile_seconds += programs.compile_seconds - before
            member.side_by_side = self.size > 1

    def _example_arguments(self) -> tuple[Any, ...]:
        """Return arguments of the shapes and dtypes of all calls, from which the program is compiled."""
        arguments = _stack([self.members[0].program_arguments()] * self.size)
        return (*arguments, self._epoch_inputs(1), np.int64(1))

    def _initial_arguments(self) -> Any:
        """Return the states and constants of all slots on the device."""
        arguments = [member.program_arguments() for member in self.members]
        state, constants = arguments[0]
        stopped = state._replace(scalars=np.array(Scalars(*state.scalars)._replace(status=STOPPED)))
        arguments += [(stopped, constants)] * (self.size - len(arguments))  # the empty slots
        return jax.device_put(_stack(arguments))

    @property
    def stop_reason(self) -> StopReason | None:
        """The first member's stop reason when no member trains any more; None before."""
        return self.members[0].stop_reason if self._running_member() is None else None

    @property
    def epoch(self) -> int:
        """Epochs completed by the members that still train."""
        return (self._running_member() or self.members[0]).epoch

    def _running_member(self) -> Member | None:
        return next((member for member in self.members if member.stop_reason is None), None)

    def stop(self, index: int, reason: StopReason) -> None:
        """Stop training a member; its state stays that of its last epoch.

        Args:
            index: The member's index in `members`.
            reason: Its stop reason.
        """
        member = self.members[index]
        member.stop_reason = reason
        if self._states is not None and member in self._slots:
            stopped = [self._slots.index(member)]
            self._states = jax.device_put(_with_stopped(self._states, stopped))

    def advance(self, epochs: int) -> list[HistoryChunk | None]:
        """Train each member that has not stopped for up to `epochs` epochs.

        Returns:
            The epochs that ended, by member; None for a member that had stopped before.
        """
        if self._states is None:
            self._states, self._constants = self._initial_arguments()
        running = self._running_member()
        assert running is not None
        self._compact()
        # The last epoch of the training is not checked in the program: no call goes beyond it.
        epochs = min(epochs, running.components.spec.epochs - running.epoch, self._plan.capacity)
        # The old states are donated: their memory holds the new ones.
        self._states, history = self._program(
            self._states, self._constants, self._epoch_inputs(epochs), np.int64(epochs)
        )
        states, values = jax.device_get((self._states, history))  # values: [E, K, C]
        chunks = {
            member: member.record(State(*jax.tree.map(itemgetter(slot), states)), values[:, slot])
            for slot, member in enumerate(self._slots)
            if member.stop_reason is None
        }
        return [chunks.get(member) for member in self.members]

    def _compact(self) -> None:
        """Continue in the smallest program that has room for the members that still train, if it is compiled.

        Compiling one may take longer than the epochs that are left. On a CPU, programs of all sizes round
        alike, so that the results do not depend on the programs that happen to be there.
        """
        slots = [slot for slot, member in enumerate(self._slots) if member.stop_reason is None]
        size = next((size for size in GROUP_SIZES if size >= len(slots)), self.size)
        components = self._slots[slots[0]].components
        if size >= self.size or components.device.type != "cpu":
            return
        if (program := self._programs.compiled_program(components, size)) is None:
            return
        # The empty slots hold a copy of the first member.
        kept = slots + slots[:1] * (size - len(slots))
        states, constants = jax.tree.map(lambda x: np.asarray(x)[kept], (self._states, self._constants))
        states = _with_stopped(states, range(len(slots), size))
        self._states, self._constants = jax.device_put((states, constants))
        self._slots = [self._slots[slot] for slot in slots]
        self._program, self.size = program, size

    def _epoch_inputs(self, epochs: int) -> EpochInputs:
        """Return the inputs of the next `epochs` epochs in arrays of the full capacity E, padded with zeros.

        A program needs the same shapes in each call. Zeros are also the inputs of stopped members and empty
        slots, whose results the program discards.
        """
        plan = self._plan
        per_epoch = plan.batches.steps_per_epoch if plan.numbers_per_step else 1
        orders = np.zeros((self.size, plan.capacity, plan.order_size), np.int32)  # [K, E, n or 0]
        numbers = np.zeros((self.size, plan.capacity, per_epoch, len(plan.numbers)))  # [K, E, 1 or S, H]
        draws = empty_draws(plan.draws, plan.batches.full_batches, self.size, plan.capacity)
        for slot, member in enumerate(self._slots):
            if member.stop_reason is None:
                orders[slot, :epochs], numbers[slot, :epochs], drawn = member.epoch_inputs(epochs)
                for into, values in zip(jax.tree.leaves(draws), jax.tree.leaves(drawn), strict=True):
                    into[slot, :epochs] = values
        return EpochInputs(orders, numbers.reshape(self.size, -1, len(plan.numbers)), draws)


class CompiledEngine(Member):
    """An engine for one training: a member alone in its group. A step is one epoch.

    Args:
        components: The training's.
        programs: The cache of plans and programs.
    """

    steps_per_epoch = 1
    steps_left = 1

    def __init__(self, components: Components, programs: ProgramCache) -> None:
        super().__init__(components, programs)
        self._programs = programs
        self._group = Group([self], programs)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint, with the bits that the training would have had in its group."""
        super().restore(checkpoint)
        if checkpoint.side_by_side:
            self._group = Group([self], self._programs, SMALLEST_GROUP)

    def advance(self, steps: int) -> HistoryChunk | None:
        """Train for up to `steps` epochs, or to the end of a partial epoch."""
        return self._finish_partial_epoch() if self.has_partial_epoch else self._group.advance(steps)[0]


def _sample_arrays(samples: Samples) -> SampleArrays:
    taken = samples.take(slice(None))  # in the place of their `order`
    weights = None if taken.weights is None else taken.weights.cpu().numpy()
    return SampleArrays(tuple(x.cpu().numpy() for x in taken.inputs), taken.targets.cpu().numpy(), weights)


def _origin(samples: Samples) -> NDArray[Any]:
    """Return the first target, each of its values the first one that is not missing."""
    targets: NDArray[Any] = samples.targets.cpu().numpy()
    if not np.issubdtype(targets.dtype, np.floating):
        return np.asarray(targets[0])
    first = np.argmax(~np.isnan(targets), axis=0, keepdims=True)  # [1, …]
    origin: NDArray[Any] = np.nan_to_num(np.take_along_axis(targets, first, axis=0)[0])
    return origin


def _with_stopped(states: State, slots: Sequence[int]) -> State:
    """Return states of K members in which those in `slots` are `STOPPED`."""
    scalars = np.array(states.scalars)  # [K, 8]
    scalars[slots, Scalars._fields.index("status")] = STOPPED
    return states._replace(scalars=scalars)


def _stack(trees: Sequence[Any]) -> Any:
    """Stack the leaves of K trees of equal structure along a new first dimension."""
    return jax.tree.map(lambda *arrays: np.stack(arrays), *trees)
