"""The check of a job request before it is queued.

Sections are checked independently, and then, when all are valid, against each other, so that one answer lists
as many errors as possible. Modules are built on the meta device only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import torch

from service.architectures.build import NodeLocation, input_names, with_inputs
from service.architectures.check.check import CheckedArchitecture
from service.architectures.outputs import OutputLayout
from service.architectures.validation import find_errors
from service.datasets.dataset import Dataset
from service.datasets.prepare.declared_names import given_inputs
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared, flatten_targets
from service.errors import FieldError, FieldErrors, InvalidRequest
from service.jobs.data import ignores_labels
from service.jobs.parent import Parent
from service.preflight.cache import CheckedData, PreflightCache
from service.preflight.class_numbers import (
    NumberedData,
    absent_outputs,
    ignore_error,
    number_as_parent,
    number_classes,
)
from service.preflight.data_section import DataSection
from service.preflight.devices import choose_device, is_served
from service.preflight.fit import ValidSections, candidate, check_sections
from service.preflight.initial_parameters import check_tensors, find_tensors
from service.preflight.parallel import EAGER, check_parallel
from service.preflight.result import PreflightResult, data_document, make_group_key, report_document
from service.preflight.sections import Sections, collecting, read_placement, read_sections
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec, read_architecture
from service.specs.data import DataDeclaration, DatasetReference
from service.specs.job import Parallel
from service.specs.training import TrainingSpec
from service.storage.storage import Storage
from service.training.batches import Batches
from service.training.check import check_components, resolve
from service.training.class_weights import resolve_class_weights
from service.training.engines.choice import Choice
from service.training.expression_loss import LossNames
from service.training.losses import LOSSES
from service.training.output_roles import OutputRoles, check_output_names
from service.training.parameter_files import StoredTensor
from service.training.suggestions import suggest

_LOSS_MISSING = FieldError("#/training", "`loss` is required.")
_ARCHITECTURE = NodeLocation("", "#/architecture")
_STATE_TENSORS = 4  # parameters, gradients and the two moments of an optimizer such as Adam


class Preflight:
    """The check of one request.

    Args:
        document: The parsed body.
        owner: The client, whose datasets and jobs the request may name.
        storage: Where datasets, jobs and workers are found.
        settings: The limits.
        cache: Results of earlier checks.
    """

    def __init__(
        self, document: Any, owner: str, storage: Storage, settings: Settings, cache: PreflightCache
    ) -> None:
        self._document = document
        self._owner = owner
        self._storage = storage
        self._settings = settings
        self._cache = cache
        self._errors = FieldErrors()
        self._data_section = DataSection(document, owner, storage, cache, self._errors)
        self._devices = [worker.device for worker in storage.workers.alive(settings.heartbeat_seconds)]

    def run(self) -> PreflightResult:
        """Check the request.

        Raises:
            InvalidRequest: With every error in the request.
        """
        sections = read_sections(self._document, self._devices, self._errors)
        training = sections.training
        parent = None if training is None else self._find_parent(training)
        tensors = None if training is None else self._find_tensors(training)
        if parent is not None and training is not None:
            training = parent.inherited(training)
            if sections.data is not None:
                sections = replace(sections, data=parent.inherited_reading(sections.data))
        dataset, data = self._check_data(sections, parent, training)
        checked = self._check_architecture(sections, data and data.prepared, training)
        if checked and tensors is not None:
            self._errors.extend(check_tensors(checked.module, tensors))
        self._check_components(sections, training, _names(checked, data))
        if self._errors or not (sections.data and training and dataset and data and checked):
            raise InvalidRequest(errors=self._errors)
        kept = None if parent is None or training.resume else parent.encoding(self._storage)
        self._errors.extend(check_output_names(training, tuple(checked.outputs)))
        if self._errors:
            raise InvalidRequest(errors=self._errors)
        layout = OutputLayout.of(read_architecture(checked.spec), checked.outputs)
        roles = OutputRoles.of(training, layout)
        main = checked.outputs[roles.main.output]
        numbered = self._number_classes(data.prepared, sections.data, training, main, parent, kept)
        prepared = flatten_targets(numbered.prepared, main.shape[1:])
        numbered = replace(numbered, prepared=prepared)
        if not numbered.errors:
            with collecting(self._errors):
                absent = absent_outputs(prepared)
                training = resolve_class_weights(training, prepared.encoding, prepared.train.targets, absent)
        if self._errors:  # go on without the weights, to find the other errors
            training = training.model_copy(update={"class_weights": None})
        valid = ValidSections(sections.data, training, data, numbered, checked, roles, dataset, parent, kept)
        found = check_sections(valid)
        self._errors.extend(found.errors)
        if self._errors:
            raise InvalidRequest(errors=self._errors)
        return self._complete(valid, found.warnings)

    def _find_parent(self, training: TrainingSpec) -> Parent | None:
        with collecting(self._errors):
            return Parent.of(training, self._owner, self._storage)
        return None

    def _find_tensors(self, training: TrainingSpec) -> Sequence[StoredTensor] | None:
        with collecting(self._errors):
            return find_tensors(training, self._owner, self._storage)
        return None

    def _number_classes(
        self,
        prepared: Prepared,
        data: DataDeclaration,
        training: TrainingSpec,
        outputs: torch.Tensor,
        parent: Parent | None,
        kept: Encoding | None,
    ) -> NumberedData:
        """Number the classes by the outputs of the model, or as the parent does."""
        if parent is not None and training.resume:
            return number_as_parent(prepared, data.classes, parent)
        ignored = LOSSES[training.loss.type].ignored(training.loss.arguments())
        if error := ignore_error(prepared.encoding, ignored):
            self._errors.extend([error])
        return number_classes(prepared, data.classes, outputs, kept)

    def _check_data(
        self, sections: Sections, parent: Parent | None, training: TrainingSpec | None
    ) -> tuple[Dataset | None, CheckedData | None]:
        """Check the data section as far as it can be read; return the data as sent and as tensors."""
        partial = sections.partial["data"]
        declared = sections.data or partial.spec
        datasets = self._data_section.load_datasets(declared)
        names = None
        if sections.architecture is not None:
            available = given_inputs(declared, None if datasets is None else datasets.dataset)
            names = input_names(sections.architecture, available)
        checked = None
        if sections.data is None or datasets is None:
            self._errors.extend(partial.filter_errors(self._data_section.name_errors(declared, datasets)))
        else:
            continued = parent if training is not None and training.resume else None
            by_label = continued is None or ignores_labels(continued.report)
            checked = self._data_section.prepare(datasets, sections.data, names, by_label)
        if datasets is None:
            return None, checked
        if _LOSS_MISSING in self._errors.listed:
            self._suggest_loss(datasets.dataset, getattr(declared, "targets", None) or ())
        return datasets.dataset, checked

    def _suggest_loss(self, dataset: Dataset, targets: Sequence[str]) -> None:
        """Add to the error which loss suits the targets; a loss is never chosen for a client."""
        if suggestion := suggest(dataset, targets):
            detail = f"{_LOSS_MISSING.detail} {suggestion.advice()}"
            listed = self._errors.listed
            listed[listed.index(_LOSS_MISSING)] = FieldError(_LOSS_MISSING.pointer, detail)

    def _check_architecture(
        self, sections: Sections, prepared: Prepared | None, training: TrainingSpec | None
    ) -> CheckedArchitecture | None:
        """Complete the architecture; without data, check only its names and arguments."""
        architecture, partial = sections.architecture, sections.partial["architecture"]
        if architecture is None:
            if partial.spec:
                self._errors.extend(partial.filter_errors(find_errors(partial.spec, _ARCHITECTURE)))
            return None
        if prepared is None:
            self._errors.extend(find_errors(architecture, _ARCHITECTURE))
            return None
        rows = prepared.train.rows
        batch_size = Batches.of(training, rows).size if training else rows
        # A batch norm refuses a single row, which `check_steps` reports with a remedy.
        size = max(2, batch_size)
        batch = [torch.empty_like(x[:1]).expand(size, *x.shape[1:]) for x in prepared.train.inputs]  # [B, …]
        architecture = with_inputs(architecture, prepared.encoding.input_names)
        try:
            return self._cache.architecture(architecture, batch)
        except InvalidRequest as error:
            self._errors.extend(self._wrapping_errors(architecture, batch, prepared) or error.errors)
        return None

    def _wrapping_errors(
        self, architecture: ArchitectureSpec, batch: Sequence[torch.Tensor], prepared: Prepared
    ) -> list[FieldError]:
        """Return an error for each input [B], if the architecture accepts all of them as [B, 1]."""
        names = [name for name, x in zip(prepared.encoding.input_names, batch, strict=True) if x.dim() == 1]
        if not names:
            return []
        try:
            self._cache.architecture(architecture, [x[:, None] if x.dim() == 1 else x for x in batch])
        except InvalidRequest:
            return []
        return self._data_section.wrapping_errors(names)

    def _check_components(
        self, sections: Sections, training: TrainingSpec | None, names: LossNames | None
    ) -> None:
        """Check loss, optimizer, scheduler and metrics by themselves."""
        partial = sections.partial["training"]
        if readable := training or partial.spec:
            self._errors.extend(partial.filter_errors(check_components(readable, names)))

    def _complete(self, sections: ValidSections, warnings: Sequence[FieldError]) -> PreflightResult:
        """Fill in everything that the request leaves open, and choose device and engine."""
        data, training, prepared = sections.data, sections.training, sections.prepared
        checked, parent = sections.checked, sections.parent
        placement = read_placement(self._document)
        reference = data if isinstance(data, DatasetReference) else None
        request = {
            "data": data_document(data, prepared.encoding),
            "architecture": checked.spec,
            "training": resolve(training, sections.roles),
            **placement.model_dump(mode="json", exclude_none=True),
        }
        device = choose_device(placement, self._devices, checked.parameter_count * sections.batches.size)
        described = candidate(sections, placement, device)
        parallel = placement.parallel or Parallel(processes=1)
        if parallel.processes == 1:
            engine = self._cache.engines.choose(placement.engine, described)
        else:
            cpu_workers = self._settings.workers
            found = check_parallel(placement, parallel, device, self._devices, cpu_workers, sections)
            if found.errors:
                raise InvalidRequest(errors=found.errors)
            warnings = [*warnings, *found.warnings]
            engine = Choice("eager", EAGER)
        used = {
            "device": device,
            "engine": engine.engine,
            "engine_reason": engine.reason,
            "estimate": engine.estimate and engine.estimate.document(),
            "threads": self._settings.threads_per_worker,
        }
        if parent is not None and training.resume:
            self._check_continuation(parent, request, sections.dataset, reference)
            used = {**orjson.loads(parent.job.used), "estimate": None}  # which was of the parent's epochs
        return PreflightResult(
            name=self._document.get("name"),
            priority=self._document.get("priority", 0),
            request=request,
            report=report_document(sections.numbered, checked, sections.roles, warnings, parent),
            dataset=sections.dataset,
            dataset_id=reference.dataset_id if reference else None,
            other_dataset_ids=list(data.split.dataset_ids().values()),
            used=used,
            parallel=parallel,
            group_key=make_group_key(request, described.key),
            parameter_count=checked.parameter_count,
            memory_estimate_bytes=checked.parameter_bytes * _STATE_TENSORS + checked.activation_bytes,
            encoding=prepared.encoding,
            parent=parent,
        )

    def _check_continuation(
        self, parent: Parent, request: dict[str, Any], dataset: Dataset, reference: DatasetReference | None
    ) -> None:
        """Check that a continuation repeats its parent's request and can run where the parent ran.

        Raises:
            InvalidRequest: It doesn't.
        """
        if reference is None:
            stored = self._storage.datasets.find(self._owner, dataset.digest)
            dataset_id = stored.id if stored else None
        else:
            dataset_id = reference.dataset_id
        errors = parent.check_request(request, self._document, dataset_id == parent.job.dataset_id)
        if not is_served(parent.job.device, self._devices):
            detail = (
                f"{parent.job.id} was trained on `{parent.job.device}`, and no worker serves that device now."
            )
            errors.append(FieldError("#", detail))
        if errors:
            raise InvalidRequest(errors=errors)


def _names(checked: CheckedArchitecture | None, data: CheckedData | None) -> LossNames | None:
    """Return the names that the text of a loss can read; None while they are unknown."""
    if checked is None or data is None:
        return None
    encoding = data.prepared.encoding
    return LossNames(tuple(checked.outputs), encoding.input_names, encoding.targets, encoding.model_input)
