"""The training loop as one XLA program.

A program trains K jobs of equal program keys for up to a given number of epochs. Everything that differs
between such jobs (data, initial parameters, numeric hyperparameters, order of samples, patience) is an array
argument, so that one compiled program serves all of them.

The loop, from top to bottom:

1. `training_loop` returns the function that is compiled. It is a `while_loop` over epochs that ends after
   `epochs` epochs, or earlier when no job is `RUNNING` any more. Each iteration writes one row of history
   values per job. The number of epochs is an argument and the arrays have their full capacity, so that a
   shorter call runs the same program: nothing is traced or compiled again.
2. `_full_batch_epoch` or `_batched_epoch` runs one epoch. With `batch_size: null`, it is one step, and the
   losses of the epoch are those before the step. Otherwise it is a `fori_loop` over the whole batches, one
   more step on the short last batch (whose shape needs a graph of its own), then `_end_epoch`.
3. `_batch_step` gathers one batch in the drawn order, `_forward_backward` computes its gradients and adds up
   its loss and metrics, and `_optimizer_step` updates the parameters.
4. `_end_epoch` validates, keeps the best epoch and decides whether the job diverged or ran out of patience.

The functions of steps 3 and 4 are written for one job. `_over_jobs` maps them over the K jobs with `vmap`. It
is applied inside the loops, not around them: the loop counters stay scalars shared by all jobs, and a `vmap`
of a whole `while_loop` would mask its complete carry, history included, in each iteration. Under `vmap` each
job computes each step, so a mask (`_select`) keeps the state of jobs that have ended.

A step of a small model takes as long as launching its kernels, not as its arithmetic. Therefore all trained
parameters are one vector, as are all gradients and each tensor of the optimizer's state, and the scalars of a
job are one array: an update is a few operators, however many layers the model has.

Shapes in comments: K jobs, E epochs (the capacity of one call), S steps per epoch, n training rows, B rows of
a batch, P elements of all trained parameters, H numeric hyperparameters, C columns of the history. A function
for one job sees the same arrays without K.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from service.datasets.prepare.encoding import IGNORED
from service.history import LEARNING_RATE
from service.training.batches import Batches
from service.training.engines.compiled.draws import Draw, EpochDraws
from service.training.engines.compiled.metrics import MeasuredMetric
from service.training.engines.compiled.plateau import PlateauState, step_plateau
from service.training.engines.compiled.update_rule import Shapes, Step, Structure, UpdateRule, unflatten

Tensors = dict[str, Array]
Drawn = tuple[Array, ...]  # the results of the random draws of a pass, in their order
# (tensors of model and loss, drawn numbers, inputs, *loss arguments) -> (loss, weight, outputs, written,
# *gradients) of a batch, whose weight is that of `weighted_loss.loss_weight`. By name are the outputs, and
# the new values of the tensors that the pass writes into.
BatchPass = Callable[..., tuple[Any, ...]]
# The carry of the loop over epochs: index of the epoch in this call, states, history rows.
Carry = tuple[Array, "State", Array]

# Values of `Scalars.status`. A job that was stopped from outside, and an empty slot of a group, is STOPPED.
RUNNING, DIVERGED, OUT_OF_PATIENCE, STOPPED = range(4)


class Scalars(NamedTuple):
    """Scalars of one job that training changes, packed into one float64 array.

    float64 holds every integer up to 2**53 exactly, so that counters can share the array.

    Attributes:
        steps: Optimizer steps taken.
        epoch: Epochs completed.
        loss_sum: Σ n_b · loss_b over the batches of the current epoch; n_b is the weight of a batch.
        loss_weight: Σ n_b over these batches.
        best: Monitored value of the best epoch, negated where higher is better: smaller is always better.
        best_epoch: Number of the best epoch; 0 before the first one.
        epochs_without_improvement: Epochs with a monitored value since the best one.
        status: `RUNNING`, or the reason why no step changes the state any more.
    """

    steps: Any
    epoch: Any
    loss_sum: Any
    loss_weight: Any
    best: Any
    best_epoch: Any
    epochs_without_improvement: Any
    status: Any


class State(NamedTuple):
    """Arrays of a job that training changes.

    Attributes:
        parameters: float32 [K, P], every tensor that the loss depends on, flattened; see `unflatten`.
        gradients: float32 [K, P], of the last step.
        buffers: Other tensors that a pass writes into, such as running statistics, by name, each [K, …].
        optimizer_state: float32 by name, for instance `exp_avg`: [K, P], or as `UpdateRule.state` says.
        best_parameters: float32 [K, P], of the best epoch.
        best_gradients: float32 [K, P], of the last step before the best parameters.
        best_buffers: Those of the best epoch, as `buffers`.
        scalars: float64 [K, 8], see `Scalars`.
        kept: [K, …] by metric, what it keeps of the current epoch: float64 sums, or float32 rows.
        plateau: float64 [K, 4], see `PlateauState`; None without such a schedule.
    """

    parameters: Any
    gradients: Any
    buffers: dict[str, Any]
    optimizer_state: dict[str, Any]
    best_parameters: Any
    best_gradients: Any
    best_buffers: dict[str, Any]
    scalars: Any
    kept: dict[str, Any]
    plateau: Any = None


class SampleArrays(NamedTuple):
    """Samples as arrays.

    Attributes:
        inputs: [K, n, …], one for each input of the model.
        targets: [K, n, …].
        weights: float32 [K, n]; None if all are 1.
    """

    inputs: tuple[Any, ...]
    targets: Any
    weights: Any

    def run(self, batch_pass: BatchPass, tensors: Tensors, drawn: Drawn) -> tuple[Any, ...]:
        """Call a pass with the samples of one job."""
        weights = () if self.weights is None else (self.weights,)
        return batch_pass(tensors, drawn, self.inputs, self.targets, *weights)


class Constants(NamedTuple):
    """Arrays of a job that training does not change.

    Attributes:
        untrained: Tensors of model and loss that get no gradients and that no pass writes into, by name, each
            [K, …].
        train: Training samples.
        validation: Validation samples; None without them.
        origin: [K, …], one target of the training samples; R² sums targets relative to it.
        metrics: float64 [K] by metric and argument, the numeric arguments of the metrics.
        max_norm: float64 [K], the largest norm of all gradients together; infinite without a limit.
        patience: float64 [K], epochs without improvement that stop a job; infinite without early stopping.
        min_delta: float64 [K], the least improvement.
        units: float64 [K, …], see `unit_conversion`; None if no metric is in the units of the targets.
        plateau: float64 [K, 8], see `PlateauOptions`; None without such a schedule.
    """

    untrained: dict[str, Any]
    train: SampleArrays
    validation: SampleArrays | None
    origin: Any
    metrics: dict[str, dict[str, Any]]
    max_norm: Any
    patience: Any
    min_delta: Any
    units: Any = None
    plateau: Any = None


class EpochInputs(NamedTuple):
    """Inputs of the epochs of one call that PyTorch draws.

    Attributes:
        orders: int32 [K, E, n], indices of training rows; [K, E, 0] with a full batch.
        numbers: float64 [K, E, H], or [K, E · S, H] where they change with each step: the optimizer's
            numeric hyperparameters, in the order of `Plan.numbers`.
        draws: The results of `Plan.draws`, each [K, E, batches, …].
    """

    orders: Any
    numbers: Any
    draws: EpochDraws[Any]


class MonitoredColumn(NamedTuple):
    """The history column that decides on the best epoch.

    Attributes:
        name: Its name.
        higher_is_better: Direction of improvement.
    """

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Plan:
    """Everything that is fixed when a program is compiled.

    Attributes:
        gradient_pass: Loss, outputs and gradients of a whole batch; the gradients in the order of `trained`.
        short_gradient_pass: The same of the short last batch; None when every batch is whole.
        evaluation_pass: Loss and outputs of the validation samples; None without them.
        trained: Shapes of the parameters that get gradients, by name. The order defines the flat vectors.
        buffers: Names of the other tensors that a pass writes into.
        rule: The optimizer's update.
        structure: Flags of the optimizer's parameter group.
        numbers: Names of the optimizer's numeric hyperparameters.
        numbers_per_step: Whether they change with each step rather than with each epoch.
        clips: Whether the norm of the gradients is limited.
        metrics: Metrics by name, in the order of the history columns.
        kept: Shape and dtype of what each metric keeps of an epoch.
        monitored: The column that decides on the best epoch; None without one.
        columns: Names of the history columns.
        ignores: Whether the loss, which is no `WeightedLoss`, leaves out targets that are `IGNORED`.
        batches: The division of an epoch into batches.
        draws: The random draws of an epoch.
        capacity: Maximum number of epochs of one call, E.
    """

    gradient_pass: BatchPass
    short_gradient_pass: BatchPass | None
    evaluation_pass: BatchPass | None
    trained: Shapes
    buffers: tuple[str, ...]
    rule: UpdateRule
    structure: Structure
    numbers: tuple[str, ...]
    numbers_per_step: bool
    clips: bool
    metrics: Mapping[str, MeasuredMetric]
    kept: Any
    monitored: MonitoredColumn | None
    columns: tuple[str, ...]
    ignores: bool
    batches: Batches
    draws: EpochDraws[Draw]
    capacity: int

    @property
    def order_size(self) -> int:
        """Indices of an epoch's order; a full batch takes its rows as they are."""
        return 0 if self.batches.is_full_batch else self.batches.rows


def training_loop(plan: Plan, jobs: int) -> Callable[..., tuple[State, Array]]:
    """Return the function that is compiled: (states, constants, inputs, epochs) -> (states, history).

    Args:
        plan: What the program computes.
        jobs: Number of jobs, K.

    Returns:
        A function of `State`, `Constants`, `EpochInputs` and an int64 number of epochs ≤ E. The history that
        it returns is float64 [E, K, C]; rows after the end of a job have no meaning.
    """
    epoch = _full_batch_epoch(plan, jobs) if plan.batches.is_full_batch else _batched_epoch(plan, jobs)

    def run(states: State, constants: Constants, inputs: EpochInputs, epochs: Array) -> tuple[State, Array]:
        # Invariant: `index` epochs of this call are done, and history[:index] holds their rows. All running
        # jobs are at the same epoch, so one index serves them.
        def any_running(carry: Carry) -> Array:
            return (carry[0] < epochs) & jnp.any(_status(carry[1]) == RUNNING)

        def one_epoch(carry: Carry) -> Carry:
            index, states, history = carry
            states, row = epoch(states, constants, inputs, index)  # row: [K, C]
            return index + 1, states, history.at[index].set(row)

        history = jnp.zeros((plan.capacity, jobs, len(plan.columns)))  # [E, K, C]
        _, states, history = lax.while_loop(any_running, one_epoch, (jnp.zeros_like(epochs), states, history))
        return states, history

    return run


# (states, constants, inputs, index of the epoch) -> (states, [K, C] history row)
Epoch = Callable[[State, Constants, EpochInputs, Array], tuple[State, Array]]


def _full_batch_epoch(plan: Plan, jobs: int) -> Epoch:
    """Return an epoch of one step on all samples, whose losses are those before the step."""

    def advance(state: State, constants: Constants, inputs: EpochInputs, index: Array) -> tuple[State, Array]:
        drawn = _drawn(inputs.draws.whole, index)
        gradients, state = _forward_backward(
            plan, plan.gradient_pass, state, constants, constants.train, jnp.asarray(0), drawn
        )
        state, row = _end_epoch(plan, state, constants, inputs, index)
        updated = _optimizer_step(plan, state, gradients, constants, inputs.numbers[index])
        updated = _end_schedule(plan, updated, constants, row)
        # As in the eager engine, a loss that is not finite takes no step; patience that ends does.
        return _select(_status(state) == DIVERGED, state, updated), row

    return _over_jobs(advance, jobs, shared=1)


def _batched_epoch(plan: Plan, jobs: int) -> Epoch:
    """Return an epoch of one step per batch, followed by the validation of the resulting parameters."""
    batches = plan.batches
    step = _over_jobs(_batch_step(plan, is_short=False), jobs, shared=2)

    def end_epoch(
        state: State, constants: Constants, inputs: EpochInputs, index: Array
    ) -> tuple[State, Array]:
        state, row = _end_epoch(plan, state, constants, inputs, index)
        return _end_schedule(plan, state, constants, row), row

    end = _over_jobs(end_epoch, jobs, shared=1)

    def epoch(states: State, constants: Constants, inputs: EpochInputs, index: Array) -> tuple[State, Array]:
        # Invariant: `batch` steps of the epoch are taken. A job's status changes only in `end`, so a job
        # that runs when an epoch starts takes all its steps.
        states = lax.fori_loop(
            0,
            batches.full_batches,
            lambda batch, states: step(states, constants, inputs, index, batch)[0],
            states,
        )
        if plan.short_gradient_pass is not None:
            short_step = _over_jobs(_batch_step(plan, is_short=True), jobs, shared=2)
            states, _ = short_step(states, constants, inputs, index, jnp.asarray(batches.full_batches))
        ended: tuple[State, Array] = end(states, constants, inputs, index)
        return ended

    return epoch


def _over_jobs(function: Callable[..., tuple[State, Any]], jobs: int, shared: int) -> Callable[..., Any]:
    """Map a function of one job's arrays over the first dimension, K.

    Args:
        function: (state, …) -> (state, value) for one job.
        jobs: Number of jobs, K.
        shared: Number of last arguments that all jobs share (loop counters), which have no dimension K.
    """

    def masked(state: State, *more: Any) -> tuple[State, Any]:
        # `vmap` computes every job in every step: the mask keeps the state of those that have ended.
        changed, value = function(state, *more)
        masked = _select(_status(state) == RUNNING, changed, state)
        # What metrics keep has no meaning after the end of a job, and may be as long as the samples.
        return masked._replace(kept=changed.kept), value

    def vmapped(*arguments: Any) -> Any:
        axes = [0] * (len(arguments) - shared) + [None] * shared
        return jax.vmap(masked, axes)(*arguments)

    def unbatched(*arguments: Any) -> Any:
        # One job: XLA has faster operators without a batch dimension. No mask is needed, since the loop over
        # epochs ends with the job.
        own, common = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
        result = function(*jax.tree.map(lambda x: x[0], own), *common)
        return jax.tree.map(lambda x: x[None], result)

    return unbatched if jobs == 1 else vmapped


def _batch_step(plan: Plan, is_short: bool) -> Callable[..., tuple[State, None]]:
    """Return one step on a batch.

    Args:
        plan: What the program computes.
        is_short: Whether it is the short last batch, whose pass was traced for its number of rows.
    """
    gradient_pass = plan.short_gradient_pass if is_short else plan.gradient_pass
    assert gradient_pass is not None
    size = plan.batches.remainder if is_short else plan.batches.size

    def step(
        state: State, constants: Constants, inputs: EpochInputs, index: Array, batch_index: Array
    ) -> tuple[State, None]:
        start = batch_index * plan.batches.size
        rows = lax.dynamic_slice(inputs.orders, (index, start), (1, size))[0]  # [B]
        # An order is a permutation of the rows: XLA need not clamp its indices.
        batch = jax.tree.map(lambda x: x.at[rows].get(mode="promise_in_bounds"), constants.train)  # [B, …]
        draws = inputs.draws
        drawn = _drawn(draws.short, index) if is_short else _drawn(draws.whole, index, batch_index)
        gradients, state = _forward_backward(plan, gradient_pass, state, constants, batch, start, drawn)
        row = index * plan.batches.steps_per_epoch + batch_index if plan.numbers_per_step else index
        return _optimizer_step(plan, state, gradients, constants, inputs.numbers[row]), None

    return step


def _forward_backward(
    plan: Plan,
    gradient_pass: BatchPass,
    state: State,
    constants: Constants,
    batch: SampleArrays,
    rows_before: Array,
    drawn: Drawn,
) -> tuple[Array, State]:
    """Return the gradients [P] of a batch, and the state with its loss and metrics added up.

    Args:
        plan: What the program computes.
        gradient_pass: The pass that was traced for the size of the batch.
        state: The state before the step.
        constants: The job's constants.
        batch: The batch.
        rows_before: Number of rows of the epoch before the batch.
        drawn: The random numbers of the batch.
    """
    tensors = _tensors(plan, state, constants)
    loss, weight, outputs, written, *gradients = batch.run(gradient_pass, tensors, drawn)
    added = _added(plan, constants, outputs, batch.targets)
    rows = len(batch.targets)
    kept = {
        name: each.metric.join(state.kept[name], added[name], rows_before, rows)
        for name, each in plan.metrics.items()
    }
    scalars, loss = Scalars(*state.scalars), loss.astype(jnp.float64)
    if plan.ignores:  # the loss of a batch in which no row counts is NaN
        weight = _counted(batch.targets)
        added_loss = jnp.where(weight > 0, weight * loss, 0.0)
    else:
        added_loss = weight * loss
    scalars = scalars._replace(
        loss_sum=scalars.loss_sum + added_loss, loss_weight=scalars.loss_weight + weight
    )
    flat = jnp.concatenate([each.ravel() for each in gradients])  # [P]
    return flat, state._replace(scalars=jnp.stack(scalars), kept=kept, buffers=state.buffers | written)


def _drawn(draws: Drawn, index: Array, batch: Array | int = 0) -> Drawn:
    """Return the drawn numbers of a batch, […], from those of all epochs, [E, batches, …]."""
    return tuple(each.at[index, batch].get(mode="promise_in_bounds") for each in draws)


def _tensors(plan: Plan, state: State, constants: Constants) -> Tensors:
    """Return all tensors of model and loss by name."""
    return {**unflatten(plan.trained, state.parameters), **state.buffers, **constants.untrained}


def _counted(targets: Array) -> Array:
    """Return the number of targets that are not `IGNORED`, float64 []."""
    return jnp.sum(targets != IGNORED, dtype=jnp.float64)


def _added(
    plan: Plan, constants: Constants, outputs: Mapping[str, Array], targets: Array
) -> dict[str, Array]:
    """Return what each metric keeps of outputs by name and targets, each [B, …]."""
    return {
        name: each.add(outputs, targets, constants.origin, constants.units, constants.metrics[name])
        for name, each in plan.metrics.items()
    }


def _optimizer_step(
    plan: Plan, state: State, gradients: Array, constants: Constants, numbers: Array
) -> State:
    """Return the state after one step of the optimizer.

    Args:
        plan: What the program computes.
        state: The state before the step.
        gradients: float32 [P].
        constants: The job's constants.
        numbers: float64 [H], the hyperparameters of this step.
    """
    if plan.clips:
        # As `torch.nn.utils.clip_grad_norm_`: the norm of all gradients is that of the flat vector.
        norm = jnp.sqrt(jnp.sum(gradients * gradients))
        gradients = gradients * jnp.minimum(constants.max_norm.astype(norm.dtype) / (norm + 1e-6), 1)
    scalars = Scalars(*state.scalars)
    scalars = scalars._replace(steps=scalars.steps + 1)
    by_name = {name: numbers[position] for position, name in enumerate(plan.numbers)}
    if state.plateau is not None:
        by_name["lr"] = PlateauState(*state.plateau).learning_rate
    parameters, optimizer_state = plan.rule.update_all(
        plan.trained,
        state.parameters,
        -gradients if plan.structure.get("maximize") else gradients,
        state.optimizer_state,
        Step(by_name, plan.structure, scalars.steps),
    )
    return state._replace(
        parameters=parameters,
        gradients=gradients,
        optimizer_state=optimizer_state,
        scalars=jnp.stack(scalars),
    )


def _end_epoch(
    plan: Plan, state: State, constants: Constants, inputs: EpochInputs, index: Array
) -> tuple[State, Array]:
    """End an epoch: validate, keep the best epoch, detect divergence and the end of patience.

    Returns:
        The state and the epoch's history row, float64 [C].
    """
    scalars = Scalars(*state.scalars)
    # Without any weight, the loss is that of the batches: 0 if weights are 0, NaN if all rows are ignored.
    nothing = jnp.nan if plan.ignores else 0.0
    train_loss = jnp.where(scalars.loss_weight > 0, scalars.loss_sum / scalars.loss_weight, nothing)
    validation_loss, validation_kept, state = _validate(
        plan, state, constants, _drawn(inputs.draws.evaluation, index)
    )
    # Without a plateau, the learning rate is known outside: `Member.record` fills its column.
    rate = jnp.nan if state.plateau is None else PlateauState(*state.plateau).learning_rate
    values = {"train_loss": train_loss, "validation_loss": validation_loss, LEARNING_RATE: rate}
    for name, metric in plan.metrics.items():
        numbers = constants.metrics[name]
        values[f"train_{name}"] = metric.metric.value(state.kept[name], numbers)
        values[f"validation_{name}"] = (
            metric.metric.value(validation_kept[name], numbers) if validation_kept else jnp.nan
        )
    finite = jnp.isfinite(train_loss) & (jnp.isfinite(validation_loss) | (constants.validation is None))
    scalars = scalars._replace(epoch=scalars.epoch + 1, loss_sum=0.0, loss_weight=0.0)
    improves = jnp.asarray(False)
    if plan.monitored is not None:
        # The rules of `Monitor.update`, without branches. An epoch whose losses or monitored value are not
        # finite is neither the best one nor counted.
        value = values[plan.monitored.name] * (-1 if plan.monitored.higher_is_better else 1)
        counts = finite & jnp.isfinite(value)
        improves = counts & (value < scalars.best - constants.min_delta)
        scalars = scalars._replace(
            best=jnp.where(improves, value, scalars.best),
            best_epoch=jnp.where(improves, scalars.epoch, scalars.best_epoch),
            epochs_without_improvement=jnp.where(improves, 0.0, scalars.epochs_without_improvement + counts),
        )
    out_of_patience = jnp.where(
        scalars.epochs_without_improvement >= constants.patience, OUT_OF_PATIENCE, RUNNING
    )
    scalars = scalars._replace(status=jnp.where(finite, out_of_patience, DIVERGED))
    changed = state._replace(
        scalars=jnp.stack([jnp.asarray(scalar, jnp.float64) for scalar in scalars]),  # [8]
        kept=jax.tree.map(jnp.zeros_like, state.kept),
        best_parameters=jnp.where(improves, state.parameters, state.best_parameters),
        best_gradients=jnp.where(improves, state.gradients, state.best_gradients),
        best_buffers=_select(improves, state.buffers, state.best_buffers),
    )
    return changed, jnp.stack([jnp.asarray(values[name], jnp.float64) for name in plan.columns])  # [C]


def _end_schedule(plan: Plan, state: State, constants: Constants, row: Array) -> State:
    """Step a schedule that depends on the losses of the epoch, given the epoch's history row [C]."""
    if state.plateau is None:
        return state
    loss = row[plan.columns.index("train_loss" if constants.validation is None else "validation_loss")]
    stepped = step_plateau(state.plateau, constants.plateau, loss)
    return state._replace(plateau=jnp.where(_status(state) == DIVERGED, state.plateau, stepped))


def _validate(
    plan: Plan, state: State, constants: Constants, drawn: Drawn
) -> tuple[Any, dict[str, Any] | None, State]:
    """Return the loss of the validation samples and what metrics keep of them, and the new state.

    Without such samples, the loss is NaN and nothing is kept.
    """
    if plan.evaluation_pass is None or constants.validation is None:
        return jnp.nan, None, state
    tensors = _tensors(plan, state, constants)
    loss, _, outputs, written = constants.validation.run(plan.evaluation_pass, tensors, drawn)
    kept = _added(plan, constants, outputs, constants.validation.targets)
    return loss.astype(jnp.float64), kept, state._replace(buffers=state.buffers | written)


def _status(states: State) -> Any:
    """Return the status of one job [] or of all jobs [K]."""
    return states.scalars[..., Scalars._fields.index("status")]


def _select(condition: Array, yes: Any, no: Any) -> Any:
    """Apply `jnp.where` to each leaf of two trees of arrays."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
