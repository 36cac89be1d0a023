"""From a training that is ready to run to the plan of its program."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import Array
from torch import Tensor

from service.datasets.prepare import Part
from service.training.engines.compiled.losses import differentiable
from service.training.engines.compiled.metrics import SummedMetric, summed_metric
from service.training.engines.compiled.optimizers import RULES, numbers_of, structure_of
from service.training.engines.compiled.program import Monitored, Pass, Plan, Tensors
from service.training.engines.compiled.tracing import Trace, named_tensors, trace
from service.training.engines.compiled.translation import array_dtype, translated
from service.training.engines.eager import Parts
from service.training.schedulers import is_per_batch

# So many indices of samples go into one call, and at most so many epochs come out of it.
ORDER_SIZE = 65_536
MOST_EPOCHS = 2048


def plan_of(parts: Parts) -> Plan:
    """Trace what a training consists of, and put it together.

    The training is one that `support.objections` finds nothing against.
    """
    spec, rows = parts.spec, parts.train.rows
    batch_size = None if spec.batch_size is None else min(spec.batch_size, rows)
    short = 0 if batch_size is None else rows % batch_size
    gradient = _gradient(parts, batch_size or rows)
    group = parts.optimizer.param_groups[0]
    found = {name: summed_metric(name, parts.task, spec.loss.type) for name in parts.metrics}
    metrics = {name: metric for name, metric in found.items() if metric is not None}
    return Plan(
        gradient=_pass(parts, gradient),
        short_gradient=_pass(parts, _gradient(parts, short)) if short else None,
        evaluation=_evaluation(parts, parts.validation),
        trained={name: tuple(parts.model.get_parameter(name).shape) for name in gradient.trained},
        rule=RULES[spec.optimizer.type],
        group=structure_of(group),
        numbers=tuple(numbers_of(group)),
        numbers_per_step=is_per_batch(spec.scheduler),
        clips=spec.gradient_clip_norm is not None,
        metrics=metrics,
        sums=_sums(metrics, gradient, parts.train),
        monitored=_monitored(parts),
        rows=rows,
        batch_size=batch_size,
        capacity=MOST_EPOCHS if batch_size is None else max(1, min(ORDER_SIZE // rows, MOST_EPOCHS)),
    )


def _gradient(parts: Parts, size: int) -> Trace:
    return trace(parts.model, differentiable(parts.loss_fn), *_head(parts.train, size), gradients=True)


def _evaluation(parts: Parts, samples: Part | None) -> Pass | None:
    if samples is None:
        return None
    parts.model.eval()
    found = trace(
        parts.model, differentiable(parts.loss_fn), samples.inputs, samples.targets, gradients=False
    )
    parts.model.train()
    return _pass(parts, found)


def _sums(metrics: Mapping[str, SummedMetric], gradient: Trace, samples: Part) -> Any:
    """Shapes and dtypes of what the metrics add up of a batch."""

    def added(outputs: Array, targets: Array) -> dict[str, Any]:
        return {name: metric.add(outputs, targets, targets[0]) for name, metric in metrics.items()}

    shapes = (
        jax.ShapeDtypeStruct(x.shape, array_dtype(x))  # type: ignore[no-untyped-call]
        for x in (gradient.output, samples.targets[: len(gradient.output)])
    )
    return jax.eval_shape(added, *shapes)


def _head(samples: Part, size: int) -> tuple[Sequence[Tensor], Tensor]:
    return [x[:size] for x in samples.inputs], samples.targets[:size]


def _pass(parts: Parts, found: Trace) -> Pass:
    """A trace as a function of the model's tensors by name."""
    function = translated(found.graph)
    names = list(named_tensors(parts.model, parts.loss_fn))

    def run(trained: Tensors, others: Tensors, inputs: tuple[Array, ...], targets: Array) -> tuple[Any, ...]:
        tensors = trained | others
        return tuple(function(*(tensors[name] for name in names), *inputs, targets))

    return run


def _monitored(parts: Parts) -> Monitored | None:
    if parts.monitor is None:
        return None
    values = ["train_loss", "validation_loss"]
    values += [f"{side}_{name}" for name in parts.metrics for side in ("train", "validation")]
    return Monitored(values.index(parts.monitor.value), parts.monitor.higher_is_better)
