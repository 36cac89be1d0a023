"""Roles of a model's outputs: which of them loss and metrics compare with the targets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from torch import Tensor
from torchmetrics import Metric

from service.architectures.outputs import OUTPUT, OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.errors import FieldError, pointer_to
from service.history import IN_TARGET_UNITS
from service.specs.base import did_you_mean, list_names
from service.specs.component import MetricSpec
from service.specs.training import TrainingSpec
from service.training.expression_loss import ForwardPass
from service.training.losses import LOSSES, Loss, loss_of
from service.training.metrics import Task, build_metric, task_of, update_metrics
from service.training.weighted_loss import Predicted


class Measured(NamedTuple):
    """An output that is compared with the targets.

    Attributes:
        output: Its name.
        task: The task that metrics measure.
        width: Its size in dimension 1; 1 for [B].
    """

    output: str
    task: Task
    width: int


@dataclass(frozen=True)
class OutputRoles:
    """The outputs that loss and metrics of a training take.

    Attributes:
        layout: All outputs.
        loss: Names of the outputs that the loss takes, the one of the targets' kind first; of an expression,
            the one that metrics take.
        main: The first of them, from which labels and residuals follow.
        metrics: The output of each metric, by the name of the metric.
        takes_all: Whether the loss is an expression, which takes all outputs and the inputs.
    """

    layout: OutputLayout
    loss: tuple[str, ...]
    main: Measured
    metrics: Mapping[str, Measured]
    takes_all: bool = False

    @classmethod
    def of(cls, training: TrainingSpec, layout: OutputLayout) -> Self:
        """Find the roles; the names are valid, see `check_output_names`."""
        loss = training.loss

        def measured(output: str) -> Measured:
            width = layout.width(output)
            return Measured(output, task_of(loss_of(loss), width), width)

        further = [getattr(loss, field) for field in LOSSES[loss.type].takes[1:]]
        names = (loss.output or layout.names[0], *further)
        metrics = {metric.name: measured(metric.output or names[0]) for metric in training.metrics}
        return cls(layout, names, measured(names[0]), metrics, LOSSES[loss.type].is_expression)

    def build_metrics(self, metrics: Iterable[MetricSpec], encoding: Encoding) -> dict[str, Metric]:
        """Construct metrics, by name."""
        return {
            metric.name: build_metric(metric, measured.task, measured.width, encoding)
            for metric, measured in ((each, self.metrics[each.name]) for each in metrics)
        }

    def update_metrics(
        self,
        metrics: Mapping[str, Metric],
        loss: Loss,
        outputs: Mapping[str, Tensor],
        targets: Tensor,
        masks_targets: bool,
    ) -> None:
        """Update metrics by name with a batch; see `metrics.update_metrics`.

        Args:
            metrics: The metrics, also those in the units of the targets.
            loss: The loss.
            outputs: Outputs of the model, [B, …], by name.
            targets: Targets of the loss, [B, …].
            masks_targets: Whether targets that are NaN are missing, and left out.
        """
        by_output: dict[Measured, list[Metric]] = {}
        for name, metric in metrics.items():
            by_output.setdefault(self.measured(name), []).append(metric)
        for (output, task, _), measuring in by_output.items():
            update_metrics(measuring, loss, task, outputs[output], targets, masks_targets)

    @property
    def compared(self) -> set[str]:
        """The outputs that loss and metrics take, and so have the units of the targets or their squares."""
        return {*self.loss, *(measured.output for measured in self.metrics.values())}

    def are_comparable(self, output: Tensor, encoding: Encoding) -> bool:
        """Return whether an output [B, …] is one of the targets; an expression also takes others."""
        is_of_classes = encoding.classes is not None and not encoding.is_binary
        shape = tuple(output.shape[1:])
        return (
            not self.takes_all
            or is_of_classes
            or shape == (() if encoding.flat_targets else encoding.batch_target_shape)
        )

    def predicted(self, outputs: Mapping[str, Tensor], inputs: Sequence[Tensor] = ()) -> Predicted:
        """Return what the loss takes, of outputs [B, …] by name and inputs [B, …]."""
        if self.takes_all:
            return ForwardPass(tuple(inputs), outputs)
        if len(self.loss) == 1:
            return outputs[self.loss[0]]
        return tuple(outputs[name] for name in self.loss)

    def measured(self, metric: str) -> Measured:
        """Return the output of a metric, also of one in the units of the targets, or of the loss in them."""
        return self.metrics.get(metric.removesuffix(IN_TARGET_UNITS), self.main)


SINGLE_OUTPUT = OutputRoles(
    OutputLayout({OUTPUT: (1,)}), (OUTPUT,), Measured(OUTPUT, "regression", 1), metrics={}
)
"""The roles of a model with one output, without metrics."""


def check_output_names(training: TrainingSpec, names: Sequence[str]) -> list[FieldError]:
    """Check the outputs that the loss and the metrics name.

    Args:
        training: The training section.
        names: Names of the outputs of the model.
    """
    return [
        FieldError(pointer, f"The model has no output `{name}`{_hint(name, names)}")
        for pointer, name in _named(training)
        if name not in names
    ]


def _named(training: TrainingSpec) -> Iterator[tuple[str, str]]:
    """Iterate over pointer and name of each output that is named."""
    for field in ("output", "var"):
        if (name := getattr(training.loss, field)) is not None:
            yield pointer_to("#/training/loss", field), name
    for index, metric in enumerate(training.metrics):
        if metric.output is not None:
            yield pointer_to("#/training", "metrics", index, "output"), metric.output


def _hint(name: str, names: Sequence[str]) -> str:
    return did_you_mean(name, names) or f"; it has {list_names(names)}."
