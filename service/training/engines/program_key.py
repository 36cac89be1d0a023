"""The key that decides which trainings share a compiled program."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson
from torch import Tensor

from service.datasets.samples import Samples
from service.specs.architecture import ArchitectureSpec
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.expression_loss import DataNames
from service.training.losses import LOSSES
from service.training.metrics import METRICS, metric_number_names
from service.training.monitor import monitored_value
from service.training.optimizers import OPTIMIZERS, numbers_of, structure_of
from service.training.output_roles import OutputRoles
from service.training.schedulers import is_per_batch
from service.training.target_units import TargetUnits

Shape = tuple[tuple[int, ...], str]  # sizes and dtype of a tensor


@dataclass(frozen=True)
class ProgramKey:
    """Everything that decides the compiled program of a training.

    Trainings of equal keys differ only in what a program takes as arrays: data, seed, initial parameters,
    class weights and the numbers of the optimizer, the schedule, the metrics and early stopping.

    Attributes:
        architecture: JSON of the complete spec. The order of its entries counts: it is the order in which
            parameters are created.
        loss: JSON of the loss with its outputs, all its arguments, and the names that its text can read.
        class_weights: Whether the loss weights classes.
        masks_targets: Whether the loss leaves out missing targets.
        optimizer: JSON of its type, its structure and the names of its numbers.
        numbers_per_step: Whether the schedule changes the optimizer's numbers with each step.
        has_plateau: Whether it depends on the losses (`ReduceLROnPlateau`).
        clips: Whether the norm of the gradients is limited.
        metrics: JSON of the metrics with their outputs, the names of their numbers and all other arguments.
        monitored: The value that decides on the best epoch; None without one.
        batches: How an epoch is divided.
        train: Inputs, targets and weights (if there are any) of the training samples, each with its shape
            [n, …].
        validation: The same for the validation samples; None without them.
        precision: `float32` or `bfloat16`.
        target_units: JSON of the values that are computed in the units of the targets, and of the number of
            steps that lead to these; empty without such values.
    """

    architecture: bytes
    loss: bytes
    class_weights: bool
    masks_targets: bool
    optimizer: bytes
    numbers_per_step: bool
    has_plateau: bool
    clips: bool
    metrics: bytes
    monitored: str | None
    batches: Batches
    train: tuple[Shape, ...]
    validation: tuple[Shape, ...] | None
    precision: str
    target_units: bytes = b""

    @classmethod
    def of(
        cls,
        architecture: ArchitectureSpec,
        spec: TrainingSpec,
        roles: OutputRoles,
        train: Samples,
        validation: Samples | None,
        precision: str,
        masks_targets: bool = False,
        units: TargetUnits | None = None,
        names: DataNames | None = None,
    ) -> Self:
        """Make the key of a training from its specs and the shapes of its samples.

        Args:
            architecture: The spec with every size filled in.
            spec: The training section, with or without its defaults filled in.
            roles: The outputs of the model that loss and metrics take.
            train: Training samples on any device, targets cast for the loss (see `place_samples`).
            validation: Validation samples, prepared likewise; None without them.
            precision: `float32` or `bfloat16`.
            masks_targets: Whether the loss leaves out missing targets.
            units: The values in the units of the targets; None if these are not transformed.
            names: Names by which the text of a loss reads inputs and targets; None without a text.
        """
        loss = LOSSES[spec.loss.type].constructor.resolve(spec.loss.arguments())
        optimizer = OPTIMIZERS[spec.optimizer.type].resolve(spec.optimizer.arguments())
        metrics = [
            [
                metric.type,
                output,
                *_metric_structure(METRICS[metric.type].classes[task].resolve(metric.arguments())),
            ]
            for metric, (output, task, _) in ((each, roles.metrics[each.name]) for each in spec.metrics)
        ]
        return cls(
            architecture=orjson.dumps(architecture.model_dump(mode="json")),
            loss=_json([spec.loss.type, roles.loss, loss, names and [*names]]),
            class_weights=spec.class_weights is not None,
            masks_targets=masks_targets,
            optimizer=_json([spec.optimizer.type, structure_of(optimizer), [*numbers_of(optimizer)]]),
            numbers_per_step=is_per_batch(spec.scheduler),
            has_plateau=spec.scheduler is not None and spec.scheduler.type == "ReduceLROnPlateau",
            clips=spec.gradient_clip_norm is not None,
            metrics=_json(metrics),
            monitored=monitored_value(spec, validation is not None),
            batches=Batches.of(spec, train.rows),
            train=_shapes(train),
            validation=None if validation is None else _shapes(validation),
            precision=precision,
            target_units=_json([units.computed, units.steps]) if units and units.computed else b"",
        )

    @property
    def step(self) -> tuple[bytes, bytes, bool, bool, str, int, tuple[Shape, ...]]:
        """The part of the key that decides the work of one step on a whole batch."""
        batch = tuple((sizes[1:], dtype) for sizes, dtype in self.train)
        arithmetic = self.class_weights, self.masks_targets, self.precision
        return self.architecture, self.loss, *arithmetic, self.batches.size, batch

    def digest(self) -> str:
        """Return the key as hexadecimal text, equal in all processes."""
        values = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in asdict(self).items()
        }
        return hashlib.sha256(orjson.dumps(values)).hexdigest()


def _metric_structure(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of a metric that are no numbers, and the names of the numbers."""
    names = metric_number_names(arguments)
    return {name: value for name, value in arguments.items() if name not in names}, names


def _json(value: object) -> bytes:
    """Serialize to JSON that does not depend on the order of arguments."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _shapes(samples: Samples) -> tuple[Shape, ...]:
    """Return shape and dtype of the inputs, the targets and the weights.

    The first size is the number of samples, even if the tensors also hold rows of other splits.
    """
    return tuple(_shape(samples.rows, tensor) for tensor in samples.tensors)


def _shape(rows: int, tensor: Tensor) -> Shape:
    return (rows, *tensor.shape[1:]), str(tensor.dtype)
