"""The metrics that a program computes, from a training's components.

Numeric arguments of metrics, such as thresholds, are inputs of a program.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from service.datasets.prepare.encoding import IGNORED
from service.history import IN_TARGET_UNITS, LOSS
from service.training.components import Components
from service.training.engines.compiled.classification_metrics import classification_metric
from service.training.engines.compiled.metric import Compared, Numbers, ProgramMetric
from service.training.engines.compiled.ranking_metrics import auroc, concordance_index
from service.training.engines.compiled.regression_metrics import loss_in_units, regression_metric
from service.training.engines.compiled.unit_conversion import in_target_units
from service.training.metrics import METRICS, THRESHOLD, Task, metric_number_names
from service.training.output_roles import Measured
from service.training.unit_metrics import InTargetUnits


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric and what it compares.

    Attributes:
        metric: The metric.
        output: Name of the output that it takes.
        task: The task that it measures.
        probabilities: Function from outputs to the predictions that it takes.
        masks_targets: Whether targets that are NaN are missing.
        ignores: Whether targets that are `IGNORED` are left out.
        in_target_units: Whether it takes values in the units of the targets.
    """

    metric: ProgramMetric
    output: str
    task: Task
    probabilities: Callable[[Array], Array]
    masks_targets: bool
    ignores: bool
    in_target_units: bool

    def add(
        self,
        outputs: Mapping[str, Array],
        targets: Array,
        origin: Array,
        units: Array | None,
        numbers: Numbers,
    ) -> Array:
        """Return what is kept of a batch.

        Args:
            outputs: Outputs of the model, [B, …], by name.
            targets: Targets of the loss, [B, …].
            origin: One target, the same for all batches.
            units: See `unit_conversion`; None if no metric is in the units of the targets.
            numbers: The numeric arguments of the metric.
        """
        values = outputs[self.output], targets, origin
        if self.in_target_units:
            assert units is not None
            values = tuple(in_target_units(units, x) for x in values)  # type: ignore[assignment]
        return self.metric.add(self._compared(*values), numbers)

    def _compared(self, outputs: Array, targets: Array, origin: Array) -> Compared:
        """Convert outputs and targets as `service.training.metrics.metric_inputs` does."""
        counts = ~jnp.isnan(targets) if self.masks_targets else jnp.ones(targets.shape, bool)
        if outputs.dtype == jnp.bfloat16:
            outputs = outputs.astype(jnp.float32)
        predictions = self.probabilities(outputs)
        if self.task == "binary":
            targets, counts = (x.reshape(-1) for x in (targets >= THRESHOLD, counts))
            return Compared(predictions.reshape(-1), targets.astype(jnp.int32), counts, origin)
        if self.task == "multilabel":
            targets = (targets >= THRESHOLD).astype(jnp.int32)
            return Compared(_positions(predictions), _positions(targets), _positions(counts), origin)
        if self.task == "multiclass":
            if jnp.issubdtype(targets.dtype, jnp.floating):  # soft labels
                targets = jnp.argmax(targets, axis=1)
            targets = targets.reshape(-1)
            counts = targets != IGNORED if self.ignores else jnp.ones(targets.shape, bool)
            return Compared(_positions(predictions), targets, counts, origin)
        return Compared(predictions, targets, counts, origin)


def _positions(values: Array) -> Array:
    """Make each position a row: [B, k, d1, …] -> [B · d1 · …, k]."""
    return jnp.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


_PROBABILITIES: Mapping[str, Callable[[Array], Array]] = {
    "BCELoss": lambda outputs: outputs,
    "BCEWithLogitsLoss": jax.nn.sigmoid,
    "CrossEntropyLoss": partial(jax.nn.softmax, axis=1),
    "MultiLabelSoftMarginLoss": jax.nn.sigmoid,
    "NLLLoss": jnp.exp,
}
"""Functions from outputs to probabilities, by the names of the losses that imply any."""


def measured_metrics(components: Components) -> dict[str, MeasuredMetric]:
    """Return the metrics of a training by their names in the history."""
    return {name: _measured(name, components) for name in components.metrics}


def _measured(name: str, components: Components) -> MeasuredMetric:
    measured, loss = components.roles.measured(name), components.spec.loss
    return MeasuredMetric(
        metric=_metric(name, measured, components),
        output=measured.output,
        task=measured.task,
        probabilities=_PROBABILITIES.get(loss.type, lambda outputs: outputs),
        masks_targets=components.masks_targets,
        ignores=components.loss.ignores,
        in_target_units=name.endswith(IN_TARGET_UNITS),
    )


def _metric(name: str, measured: Measured, components: Components) -> ProgramMetric:
    found = _type_and_arguments(name, components)
    if found is None:
        return loss_in_units(components.spec.loss)
    metric_type, arguments = found
    if metric_type == "auroc":
        return auroc(measured.task, arguments.get("average"), measured.width)
    if metric_type == "concordance_index":
        return concordance_index()
    if measured.task == "regression":
        return regression_metric(metric_type, arguments, components.masks_targets)
    return classification_metric(metric_type, measured.task, arguments.get("average"))


def _type_and_arguments(name: str, components: Components) -> tuple[str, dict[str, Any]] | None:
    """Return type and all arguments of a metric by its name in the history; None of the loss in units."""
    base = name.removesuffix(IN_TARGET_UNITS)
    spec = next((each for each in components.spec.metrics if each.name == base), None)
    if spec is None:
        assert base == LOSS
        return None
    task = components.roles.measured(name).task
    return spec.type, METRICS[spec.type].classes[task].resolve(spec.arguments())


def metric_numbers(components: Components) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the numeric arguments of each metric, float64 [], by the metric's name in the history."""
    numbers = {}
    for name, metric in components.metrics.items():
        found = _type_and_arguments(name, components)
        names = [] if found is None else metric_number_names(found[1])
        built = metric.metric if isinstance(metric, InTargetUnits) else metric
        # None instead of a number is an `ignore_index` that is no class: no target is equal to NaN.
        numbers[name] = {each: np.array(getattr(built, each), np.float64) for each in names}
    return numbers
