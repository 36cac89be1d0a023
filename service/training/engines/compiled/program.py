"""The training loop as one XLA program.

A program takes the state of some jobs that train side by side, and how many steps to take; it gives back the
state after them and a row of values for each epoch that ended. What differs between jobs of the same shape
(data, initial parameters, hyperparameters, the order of samples, patience) goes in as arrays, so that one
program serves all of them, and `vmap` serves many at once.

A small model's step takes as long as the kernels it starts, not as their arithmetic. So all trained
parameters are one vector here, as are all gradients, and what is one number each travels in one array.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from service.history import LEARNING_RATE
from service.training.batches import Batches
from service.training.engines.compiled.metrics import SummedMetric
from service.training.engines.compiled.optimizers import Group, Rule

Tensors = dict[str, Array]
# A pass over a batch: trained and other tensors by name, the batch's inputs and targets.
Pass = Callable[[Tensors, Tensors, tuple[Array, ...], Array], tuple[Any, ...]]
Carry = tuple[Array, "State", Array]

GOING, DIVERGED, OUT_OF_PATIENCE, ENDED = range(4)


class Marks(NamedTuple):
    """Numbers of one job that training changes; float64 [], which holds any count exactly.

    Attributes:
        steps: steps taken by the optimizer.
        epoch: epochs completed.
        loss_sum: Σ n_b · loss_b over the epoch at hand.
        best: the value that the monitor follows at its best epoch; smaller is better.
        best_epoch: 0 before there is one.
        waited: epochs since then.
        ended: `GOING`, or why no step changes anything any more.
    """

    steps: Any
    epoch: Any
    loss_sum: Any
    best: Any
    best_epoch: Any
    waited: Any
    ended: Any


class State(NamedTuple):
    """What training changes of one job.

    Attributes:
        parameters: all that the loss depends on, in one vector.
        gradients: of the last step, likewise.
        slots: what the optimizer keeps, likewise.
        best_parameters, best_gradients: of the best epoch.
        marks: float64 [7], see `Marks`.
        sums: what each metric has added up over the epoch at hand.
    """

    parameters: Any
    gradients: Any
    slots: dict[str, Any]
    best_parameters: Any
    best_gradients: Any
    marks: Any
    sums: dict[str, Any]


class Rows(NamedTuple):
    """Samples: inputs and targets, each [n, …]."""

    inputs: tuple[Any, ...]
    targets: Any


class Job(NamedTuple):
    """What training leaves as it is of one job.

    Attributes:
        others: tensors of the model that aren't trained, by name.
        train, validation: the samples; validation is None where there are none.
        clip: the largest norm of the gradients; infinite where there is no limit.
        patience, min_delta: of early stopping; an infinite patience never stops.
    """

    others: dict[str, Any]
    train: Rows
    validation: Rows | None
    clip: Any
    patience: Any
    min_delta: Any


class Ahead(NamedTuple):
    """What one job's coming epochs take from outside.

    Attributes:
        orders: int32 [epochs, n], of samples; [epochs, 0] with a full batch.
        numbers: float64 [epochs or steps, numbers], the optimizer's, in the order of the plan's names.
    """

    orders: Any
    numbers: Any


class Monitored(NamedTuple):
    """The value of an epoch that decides on the best one, and its direction."""

    value: str
    higher_is_better: bool


@dataclass(frozen=True)
class Plan:
    """All that a program is made of.

    Attributes:
        gradient: of a batch: loss, outputs, then the gradients in the order of `trained`.
        short_gradient: the same for the epoch's short last batch; None where no batch is short.
        evaluation: of the validation rows: loss, outputs.
        trained: shapes of the parameters that get gradients, by name.
        rule, group: the optimizer's.
        numbers: names of the optimizer's numbers.
        numbers_per_step: whether they change with each step rather than each epoch.
        clips: whether the gradients' norm is limited.
        metrics: in the order of the row's values.
        sums: shapes and dtypes of what they add up.
        monitored: None when nothing is followed.
        columns: names of an epoch's values, in the order of a row.
        batches: how an epoch is divided; with a full batch, the losses of an epoch are those before its step.
        capacity: epochs that one call can finish.
    """

    gradient: Pass
    short_gradient: Pass | None
    evaluation: Pass | None
    trained: Mapping[str, tuple[int, ...]]
    rule: Rule
    group: Group
    numbers: tuple[str, ...]
    numbers_per_step: bool
    clips: bool
    metrics: Mapping[str, SummedMetric]
    sums: Any
    monitored: Monitored | None
    columns: tuple[str, ...]
    batches: Batches
    capacity: int

    @property
    def order_size(self) -> int:
        """How many indices say the order of an epoch's samples."""
        return 0 if self.batches.is_full_batch else self.batches.rows


def loop(plan: Plan, jobs: int) -> Callable[..., tuple[State, Array]]:
    """The function that is compiled: (states, jobs, ahead, epochs) to (states, rows).

    All arrays of states, jobs and ahead begin with the dimension of the jobs. Rows are float64
    [capacity, jobs, columns]; those of a job that had ended before mean nothing.
    """
    epoch = _full_batch_epoch(plan, jobs) if plan.batches.is_full_batch else _batched_epoch(plan, jobs)

    def run(states: State, job: Job, ahead: Ahead, epochs: Array) -> tuple[State, Array]:
        def unfinished(carry: Carry) -> Array:
            return (carry[0] < epochs) & jnp.any(_ended(carry[1]) == GOING)

        def one_epoch(carry: Carry) -> Carry:
            index, states, rows = carry
            states, row = epoch(states, job, ahead, index)
            return index + 1, states, rows.at[index].set(row)

        rows = jnp.zeros((plan.capacity, jobs, len(plan.columns)))
        _, states, rows = lax.while_loop(unfinished, one_epoch, (jnp.zeros_like(epochs), states, rows))
        return states, rows

    return run


Epoch = Callable[[State, Job, Ahead, Array], tuple[State, Array]]


def _full_batch_epoch(plan: Plan, jobs: int) -> Epoch:
    """An epoch is one step on all samples; its losses are those of the parameters before the step."""

    def advance(state: State, job: Job, ahead: Ahead, index: Array) -> tuple[State, Array]:
        gradients, measured = _passed(plan, plan.gradient, state, job, job.train, plan.batches.rows)
        counted, row = _epoch_ended(plan, measured, job)
        updated = _updated(plan, counted, gradients, job, ahead.numbers[index])
        return _where(_ended(counted) == DIVERGED, counted, updated), row

    return _side_by_side(advance, jobs, shared=1)


def _batched_epoch(plan: Plan, jobs: int) -> Epoch:
    """An epoch is a step for each batch, the short last one apart, then the validation of where they led."""
    size = plan.batches.size
    step = _side_by_side(_step(plan, plan.gradient, size), jobs, shared=2)
    end = _side_by_side(lambda state, job: _epoch_ended(plan, state, job), jobs, shared=0)

    def epoch(states: State, job: Job, ahead: Ahead, index: Array) -> tuple[State, Array]:
        whole = plan.batches.whole
        states = lax.fori_loop(
            0, whole, lambda place, states: step(states, job, ahead, index, place)[0], states
        )
        if plan.short_gradient is not None:
            short = _side_by_side(_step(plan, plan.short_gradient, plan.batches.remainder), jobs, shared=2)
            states, _ = short(states, job, ahead, index, jnp.asarray(whole))
        ended: tuple[State, Array] = end(states, job)
        return ended

    return epoch


def _side_by_side(function: Callable[..., tuple[State, Any]], jobs: int, shared: int) -> Callable[..., Any]:
    """A function of one job's state as one of several jobs', which share its last arguments.

    A lone job needs no batched operators: XLA has faster ones without. Of several, those that have ended
    stay as they are.
    """

    def going_on(state: State, *more: Any) -> tuple[State, Any]:
        changed, value = function(state, *more)
        return _where(_ended(state) == GOING, changed, state), value

    def alone(*given: Any) -> Any:
        own, common = given[: len(given) - shared], given[len(given) - shared :]
        result = function(*jax.tree.map(lambda x: x[0], own), *common)
        return jax.tree.map(lambda x: x[None], result)

    def together(*given: Any) -> Any:
        axes = [0] * (len(given) - shared) + [None] * shared
        return jax.vmap(going_on, axes)(*given)

    return alone if jobs == 1 else together


def _step(plan: Plan, gradient: Pass, size: int) -> Callable[..., tuple[State, None]]:
    """One step on a batch of `size` samples."""

    def step(state: State, job: Job, ahead: Ahead, index: Array, place: Array) -> tuple[State, None]:
        taken = lax.dynamic_slice(ahead.orders, (index, place * plan.batches.size), (1, size))[0]
        batch = jax.tree.map(lambda x: x.at[taken].get(mode="promise_in_bounds"), job.train)
        gradients, measured = _passed(plan, gradient, state, job, batch, size)
        numbers = ahead.numbers[
            index * plan.batches.steps_per_epoch + place if plan.numbers_per_step else index
        ]
        return _updated(plan, measured, gradients, job, numbers), None

    return step


def _passed(
    plan: Plan, gradient: Pass, state: State, job: Job, batch: Rows, size: int
) -> tuple[Array, State]:
    """The gradients of a batch, and the state with its loss and metrics added up."""
    loss, outputs, *gradients = gradient(by_name(plan, state.parameters), job.others, *batch)
    sums = {
        name: state.sums[name] + metric.add(outputs, batch.targets, job.train.targets[0])
        for name, metric in plan.metrics.items()
    }
    marks = Marks(*state.marks)
    marks = marks._replace(loss_sum=marks.loss_sum + size * loss.astype(jnp.float64))
    flat = jnp.concatenate([each.ravel() for each in gradients])
    return flat, state._replace(marks=jnp.stack(marks), sums=sums)


def by_name(plan: Plan, vector: Any) -> dict[str, Any]:
    """The tensors that a vector of all trained parameters holds."""
    tensors, start = {}, 0
    for name, shape in plan.trained.items():
        end = start + math.prod(shape)
        tensors[name] = vector[start:end].reshape(shape)
        start = end
    return tensors


def _updated(plan: Plan, state: State, gradients: Array, job: Job, numbers: Array) -> State:
    """The state after one step of the optimizer."""
    if plan.clips:
        # `torch.nn.utils.clip_grad_norm_`
        norm = jnp.sqrt(jnp.sum(gradients * gradients))
        gradients = gradients * jnp.minimum(job.clip.astype(norm.dtype) / (norm + 1e-6), 1)
    marks = Marks(*state.marks)
    marks = marks._replace(steps=marks.steps + 1)
    parameters, slots = plan.rule.update(
        state.parameters,
        -gradients if plan.group.get("maximize") else gradients,
        state.slots,
        {name: numbers[position] for position, name in enumerate(plan.numbers)},
        plan.group,
        marks.steps,
    )
    return state._replace(parameters=parameters, gradients=gradients, slots=slots, marks=jnp.stack(marks))


def _epoch_ended(plan: Plan, state: State, job: Job) -> tuple[State, Array]:
    """Validate, follow the best, see divergence and the end of patience; the state and the epoch's row."""
    marks = Marks(*state.marks)
    train_loss = marks.loss_sum / plan.batches.rows
    validation_loss, validation_sums = _validated(plan, state, job)
    values = {"train_loss": train_loss, "validation_loss": validation_loss, LEARNING_RATE: jnp.nan}
    for name, metric in plan.metrics.items():
        values[f"train_{name}"] = metric.value(state.sums[name])
        values[f"validation_{name}"] = metric.value(validation_sums[name]) if validation_sums else jnp.nan
    finite = jnp.isfinite(train_loss) & (jnp.isfinite(validation_loss) | (job.validation is None))
    marks = marks._replace(epoch=marks.epoch + 1, loss_sum=0.0)
    improves = jnp.asarray(False)
    if plan.monitored is not None:
        value = values[plan.monitored.value] * (-1 if plan.monitored.higher_is_better else 1)
        improves = finite & (value < marks.best - job.min_delta)
        marks = marks._replace(
            best=jnp.where(improves, value, marks.best),
            best_epoch=jnp.where(improves, marks.epoch, marks.best_epoch),
            waited=jnp.where(improves, 0.0, marks.waited + finite),
        )
    out_of_patience = jnp.where(marks.waited >= job.patience, OUT_OF_PATIENCE, GOING)
    marks = marks._replace(ended=jnp.where(finite, out_of_patience, DIVERGED))
    changed = state._replace(
        marks=jnp.stack([jnp.asarray(mark, jnp.float64) for mark in marks]),
        sums=jax.tree.map(jnp.zeros_like, state.sums),
        best_parameters=jnp.where(improves, state.parameters, state.best_parameters),
        best_gradients=jnp.where(improves, state.gradients, state.best_gradients),
    )
    return changed, jnp.stack([jnp.asarray(values[name], jnp.float64) for name in plan.columns])


def _validated(plan: Plan, state: State, job: Job) -> tuple[Any, dict[str, Any] | None]:
    if plan.evaluation is None or job.validation is None:
        return jnp.nan, None
    parameters = by_name(plan, state.parameters)
    loss, outputs = plan.evaluation(parameters, job.others, *job.validation)
    targets = job.validation.targets
    sums = {name: metric.add(outputs, targets, targets[0]) for name, metric in plan.metrics.items()}
    return loss.astype(jnp.float64), sums


def _ended(states: State) -> Any:
    """Of one job or of several."""
    return states.marks[..., Marks._fields.index("ended")]


def _where(condition: Array, yes: Any, no: Any) -> Any:
    """One of two trees of arrays."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
