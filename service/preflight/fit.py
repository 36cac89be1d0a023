"""Checks that the sections of a request, each valid by itself, fit together."""

from dataclasses import dataclass

import torch

from service.architectures.check.check import CheckedArchitecture
from service.datasets.dataset import Dataset
from service.datasets.prepare.encoding import Encoding, has_target_transforms
from service.datasets.prepare.prepare import Prepared
from service.errors import FieldError
from service.jobs.parent import Parent
from service.preflight.cache import CheckedData
from service.preflight.class_numbers import NumberedData
from service.preflight.encoding_differences import column_differences, constant_differences
from service.preflight.value_checks import (
    check_batches,
    check_comparisons,
    check_output_values,
    check_steps,
    check_values,
)
from service.specs.architecture import read_architecture
from service.specs.data import DataDeclaration
from service.specs.job import Placement
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.check import check_fit, quantity_warnings
from service.training.class_weights import build_loss
from service.training.device_placement import place_samples
from service.training.engines.candidate import Candidate
from service.training.engines.program_key import ProgramKey
from service.training.expression_loss import data_names
from service.training.findings import Findings
from service.training.losses import LOSSES
from service.training.metric_values import check_metric_values
from service.training.output_roles import OutputRoles
from service.training.target_units import target_units, without_units

# Number of targets to try the loss and the metrics on.
MAX_TARGETS_TRIED = 10_000


@dataclass(frozen=True)
class ValidSections:
    """The sections of a request, each valid by itself.

    Attributes:
        data: The data section.
        training: The training section, with class weights as numbers.
        checked_data: The data as tensors on the meta device, with what was found in their values.
        numbered: The data with the numbers of the classes; targets hold values.
        checked: The completed architecture and its module on the meta device.
        roles: The outputs of the model that loss and metrics take.
        dataset: The data.
        parent: The job named by `from_job`.
        parent_encoding: The encoding of its model; None also for its exact continuation, which has the same.
    """

    data: DataDeclaration
    training: TrainingSpec
    checked_data: CheckedData
    numbered: NumberedData
    checked: CheckedArchitecture
    roles: OutputRoles
    dataset: Dataset
    parent: Parent | None
    parent_encoding: Encoding | None

    @property
    def prepared(self) -> Prepared:
        """The data as tensors on the meta device; targets hold values."""
        return self.numbered.prepared

    @property
    def batches(self) -> Batches:
        """The division of the training rows into batches."""
        return Batches.of(self.training, self.prepared.train.rows)


def check_sections(sections: ValidSections) -> Findings:
    """Check data, architecture, training and parent job against each other."""
    prepared, checked, training = sections.prepared, sections.checked, sections.training
    roles = sections.roles
    found = Findings(
        warnings=[*checked.warnings, *sections.numbered.warnings, *sections.checked_data.warnings]
    )
    extremes = sections.checked_data.extremes
    found.add_errors(
        check_fit(
            training,
            checked.module,
            checked.outputs,
            roles,
            prepared.train.targets[:MAX_TARGETS_TRIED],
            prepared.encoding,
            training.epochs * max(1, sections.batches.steps_per_epoch),  # 0 is an error of `check_batches`
            prepared.validation is not None,
            sections.numbered.errors,
            prepared.train.inputs,
        )
    )
    if not found.errors:
        found.add_errors(check_comparisons(training, sections.batches, prepared.train.targets))
        check_metric_values(training, roles, prepared, found)
    found.add_errors(check_batches(sections.batches))
    found.add_errors(check_steps(checked.module, prepared, sections.batches))
    found.add_errors(check_values(prepared.encoding, checked, extremes))
    check_output_values(training, checked, roles, extremes, found)
    loss = LOSSES[training.loss.type]
    if has_target_transforms(prepared.encoding) and not loss.outputs_are_values(training.loss.arguments()):
        detail = (
            f"`{training.loss.type}` is computed of logits, logarithms or scores, in which transforms of the "
            "targets can't be inverted; send the targets without transforms."
        )
        found.add_errors([FieldError("#/data/transforms", detail)])
    if reason := without_units(prepared.encoding, roles.main.task):
        found.add_warning("#/data/transforms", reason)
    found.add_warnings(quantity_warnings(prepared.encoding.classes or ()))
    if sections.parent is not None:
        _check_parent(sections.parent, sections, found)
    return found


def _check_parent(parent: Parent, sections: ValidSections, found: Findings) -> None:
    """Check that the parameters of a parent fit, and belong to the same columns and categories."""
    now, then = sections.prepared.encoding, sections.parent_encoding
    errors = parent.check_model(sections.checked.module)
    found.add_errors(errors)
    if then is None:
        return
    columns = column_differences(now, then)
    if errors:
        found.add_errors(columns)
    else:
        found.add_warnings([*columns, *constant_differences(now, then)])


def candidate(sections: ValidSections, placement: Placement, device: str) -> Candidate:
    """Describe the training to the choice of its engine."""
    training, prepared, checked = sections.training, sections.prepared, sections.checked
    loss, meta, roles = LOSSES[training.loss.type], torch.device("meta"), sections.roles
    size = sections.batches.size
    train = place_samples(prepared.train, loss, meta)
    validation = place_samples(prepared.validation, loss, meta) if prepared.validation else None
    architecture = read_architecture(checked.spec)
    units = target_units(prepared.encoding, roles.main.task, training)
    loss_fn = build_loss(training, prepared.encoding, roles.main.width, train.weights is not None)
    return Candidate(
        key=ProgramKey.of(
            architecture,
            training,
            roles,
            train,
            validation,
            placement.precision,
            prepared.encoding.masks_targets,
            units,
            data_names(loss_fn),
        ),
        model=checked.module,
        loss_fn=loss_fn,
        spec=training,
        batch=train.take(slice(0, size)),
        roles=roles,
        on_gpu=device.startswith("cuda"),
        calls=len(checked.layers),
        units=units,
        data_bytes=sum(x.nbytes for part in (train, validation) if part for x in part.inputs),
    )
