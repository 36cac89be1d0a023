"""The plan of a program: the traces and constants that are fixed when a training is compiled.

From a training to its plan, from top to bottom:

1. `make_plan` traces one batch forward and backward (`_trace_gradients`). An epoch with a short last batch
   needs a second trace, since a graph has fixed shapes.
2. The validation samples are traced forward in eval mode (`_trace_evaluation`), all rows at once.
3. `_batch_pass` translates each trace to JAX and gives it its tensors by name: those that are trained come
   from the flat parameter vector, those that a pass writes into (running statistics) from the buffers of the
   state, the others from the job's constants.
4. The remaining fields are read from the spec and the optimizer: the update rule, the names of its numeric
   hyperparameters, metrics, monitored column, and the capacity of one call.

A plan depends on the training's program key alone, so that trainings of equal keys share it. Shapes, flags
and the order of tensors are part of the plan; values of tensors and numbers never are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from torch import Tensor

from service.datasets.samples import Samples
from service.history import history_columns
from service.training.batches import Batches
from service.training.components import Components
from service.training.engines.compiled.draws import Draw, EpochDraws, epoch_bytes
from service.training.engines.compiled.losses import traceable_loss
from service.training.engines.compiled.metrics import MeasuredMetric, measured_metrics, metric_numbers
from service.training.engines.compiled.optimizers import UPDATE_RULES
from service.training.engines.compiled.program import BatchPass, Drawn, MonitoredColumn, Plan, Tensors
from service.training.engines.compiled.tracing import Trace, named_tensors, trace
from service.training.engines.compiled.translation import array_dtype, translated
from service.training.engines.compiled.unit_conversion import unit_constants
from service.training.optimizers import current_numbers, structure_of
from service.training.schedulers import is_per_batch
from service.training.weighted_loss import WeightedLoss

# The arrays of a call have room for its full capacity, however few epochs it runs: these limit their size.
MAX_ORDER_INDICES = 65_536
MAX_DRAWN_BYTES = 2**20
MAX_EPOCHS = 2048


def make_plan(components: Components) -> Plan:
    """Trace the passes of a training and collect what its program is compiled from.

    Args:
        components: A training for which `eligibility.objections` finds nothing.
    """
    spec, batches = components.spec, components.batches
    gradients = _trace_gradients(components, batches.size)
    short_gradients = _trace_gradients(components, batches.remainder) if batches.remainder else None
    evaluation = _trace_evaluation(components, components.validation)
    traces = [each for each in (gradients, short_gradients, evaluation) if each is not None]
    draws = EpochDraws(
        *(() if each is None else each.draws for each in (gradients, short_gradients, evaluation))
    )
    monitor = components.monitor
    metrics = measured_metrics(components)
    return Plan(
        gradient_pass=_batch_pass(components, gradients),
        short_gradient_pass=None if short_gradients is None else _batch_pass(components, short_gradients),
        evaluation_pass=None if evaluation is None else _batch_pass(components, evaluation),
        trained={name: tuple(components.model.get_parameter(name).shape) for name in gradients.trained},
        buffers=tuple(dict.fromkeys(name for each in traces for name in each.written)),
        rule=UPDATE_RULES[spec.optimizer.type],
        structure=structure_of(components.optimizer.param_groups[0]),
        numbers=tuple(current_numbers(components.optimizer)),
        numbers_per_step=is_per_batch(spec.scheduler),
        clips=spec.gradient_clip_norm is not None,
        metrics=metrics,
        kept=_kept_shapes(metrics, components, gradients),
        monitored=None if monitor is None else MonitoredColumn(monitor.value, monitor.higher_is_better),
        columns=history_columns(metrics),
        ignores=components.loss.ignores and not isinstance(components.loss_fn, WeightedLoss),
        batches=batches,
        draws=draws,
        capacity=_capacity(batches, draws),
    )


def _capacity(batches: Batches, draws: EpochDraws[Draw]) -> int:
    """Return the maximum number of epochs of one call."""
    by_orders = MAX_EPOCHS if batches.is_full_batch else MAX_ORDER_INDICES // batches.rows
    by_draws = MAX_DRAWN_BYTES // max(1, epoch_bytes(draws, batches.full_batches))
    return max(1, min(by_orders, by_draws, MAX_EPOCHS))


def _trace_gradients(components: Components, size: int) -> Trace:
    """Trace the forward and backward pass of a batch of `size` rows, in training mode."""
    components.model.train()
    return _trace(components, components.train.take(slice(0, size)), gradients=True)


def _trace_evaluation(components: Components, samples: Samples | None) -> Trace | None:
    """Trace the forward pass of all validation rows, in eval mode."""
    if samples is None:
        return None
    components.model.eval()
    found = _trace(components, samples.take(slice(None)), gradients=False)
    components.model.train()
    return found


def _trace(components: Components, samples: Samples, gradients: bool) -> Trace:
    return trace(
        components.model,
        traceable_loss(components.loss_fn),
        samples,
        gradients,
        components.roles,
        components.precision,
    )


def _kept_shapes(metrics: Mapping[str, MeasuredMetric], components: Components, gradients: Trace) -> Any:
    """Return shape and dtype of what each metric keeps of an epoch, without computing any."""
    batches, targets = components.batches, components.train.targets[: components.batches.size]
    units = components.units
    constants = None if units is None or not units.computed else jnp.asarray(unit_constants(units))

    def add(outputs: Mapping[str, Array], targets: Array, numbers: Any) -> dict[str, Any]:
        return {
            name: metric.add(outputs, targets, targets[0], constants, numbers[name])
            for name, metric in metrics.items()
        }

    def shape(x: Tensor) -> Any:
        return jax.ShapeDtypeStruct(x.shape, array_dtype(x))  # type: ignore[no-untyped-call]

    outputs = {name: shape(output) for name, output in gradients.outputs.items()}
    of_batch = jax.eval_shape(add, outputs, shape(targets), metric_numbers(components))
    rows = batches.full_batches * batches.size + batches.remainder
    return {
        name: jax.ShapeDtypeStruct(
            metric.metric.epoch_shape(of_batch[name].shape, len(targets), rows), of_batch[name].dtype
        )  # type: ignore[no-untyped-call]
        for name, metric in metrics.items()
    }


def _batch_pass(components: Components, found: Trace) -> BatchPass:
    """Translate a trace to a function of the model's tensors by name and a batch."""
    function = translated(found.graph)
    # The graph takes its tensors by position, in the order of `named_tensors`.
    names: Sequence[str] = list(named_tensors(components.model, components.loss_fn))
    # They are made of numbers in the text and of shapes, which belong to the program key.
    constants = [tensor.cpu().numpy() for tensor in found.constants]
    is_weighted = isinstance(components.loss_fn, WeightedLoss)

    def run(
        tensors: Tensors, drawn: Drawn, inputs: tuple[Array, ...], *loss_arguments: Array
    ) -> tuple[Any, ...]:
        state = (tensors[name] for name in names)
        loss, *results = function(*state, *inputs, *loss_arguments, *map(jnp.asarray, constants), *drawn)
        written = {name: results.pop() for name in reversed(found.written)}
        weight = results.pop() if is_weighted else float(len(loss_arguments[0]))
        outputs = {name: results.pop(0) for name in found.outputs}
        return loss, weight, outputs, written, *results

    return run
