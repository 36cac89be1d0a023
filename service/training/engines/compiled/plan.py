"""From a training that is ready to run to the plan of its program."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import Array
from torch import Tensor

from service.datasets.samples import Samples
from service.history import history_columns
from service.training.components import Components
from service.training.engines.compiled.losses import differentiable
from service.training.engines.compiled.metrics import SummedMetric, summed_metric
from service.training.engines.compiled.optimizers import RULES
from service.training.engines.compiled.program import Monitored, Pass, Plan, Tensors
from service.training.engines.compiled.tracing import Trace, named_tensors, trace
from service.training.engines.compiled.translation import array_dtype, translated
from service.training.optimizers import current_numbers, structure_of
from service.training.schedulers import is_per_batch

# So many indices of samples go into one call, and at most so many epochs come out of it.
ORDER_SIZE = 65_536
MOST_EPOCHS = 2048


def plan_of(components: Components) -> Plan:
    """Trace what a training consists of, and put it together.

    The training is one that `support.objections` finds nothing against.
    """
    spec, batches = components.spec, components.batches
    gradient = _gradient(components, batches.size)
    group = components.optimizer.param_groups[0]
    monitor = components.monitor
    found = {name: summed_metric(name, components.task, spec.loss.type) for name in components.metrics}
    metrics = {name: metric for name, metric in found.items() if metric is not None}
    return Plan(
        gradient=_pass(components, gradient),
        short_gradient=_pass(components, _gradient(components, batches.remainder))
        if batches.remainder
        else None,
        evaluation=_evaluation(components, components.validation),
        trained={name: tuple(components.model.get_parameter(name).shape) for name in gradient.trained},
        rule=RULES[spec.optimizer.type],
        group=structure_of(group),
        numbers=tuple(current_numbers(components.optimizer)),
        numbers_per_step=is_per_batch(spec.scheduler),
        clips=spec.gradient_clip_norm is not None,
        metrics=metrics,
        sums=_sums(metrics, gradient, components.train),
        monitored=None if monitor is None else Monitored(monitor.value, monitor.higher_is_better),
        columns=history_columns(metrics),
        batches=batches,
        capacity=MOST_EPOCHS
        if batches.is_full_batch
        else max(1, min(ORDER_SIZE // batches.rows, MOST_EPOCHS)),
    )


def _gradient(components: Components, size: int) -> Trace:
    return trace(
        components.model, differentiable(components.loss_fn), *_head(components.train, size), gradients=True
    )


def _evaluation(components: Components, samples: Samples | None) -> Pass | None:
    if samples is None:
        return None
    components.model.eval()
    found = trace(
        components.model, differentiable(components.loss_fn), samples.inputs, samples.targets, gradients=False
    )
    components.model.train()
    return _pass(components, found)


def _sums(metrics: Mapping[str, SummedMetric], gradient: Trace, samples: Samples) -> Any:
    """Shapes and dtypes of what the metrics add up of a batch."""

    def added(outputs: Array, targets: Array) -> dict[str, Any]:
        return {name: metric.add(outputs, targets, targets[0]) for name, metric in metrics.items()}

    shapes = (
        jax.ShapeDtypeStruct(x.shape, array_dtype(x))  # type: ignore[no-untyped-call]
        for x in (gradient.output, samples.targets[: len(gradient.output)])
    )
    return jax.eval_shape(added, *shapes)


def _head(samples: Samples, size: int) -> tuple[Sequence[Tensor], Tensor]:
    return [x[:size] for x in samples.inputs], samples.targets[:size]


def _pass(components: Components, found: Trace) -> Pass:
    """A trace as a function of the model's tensors by name."""
    function = translated(found.graph)
    names = list(named_tensors(components.model, components.loss_fn))

    def run(trained: Tensors, others: Tensors, inputs: tuple[Array, ...], targets: Array) -> tuple[Any, ...]:
        tensors = trained | others
        return tuple(function(*(tensors[name] for name in names), *inputs, targets))

    return run
