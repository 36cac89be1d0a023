"""The check of a job request: everything wrong with it at once, or the job to be queued.

The sections are checked independently and their mistakes merged: first each by itself, then, when each
could be read, how they fit together. Models are met on the meta device only.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, get_args

import orjson
import torch
from pydantic import TypeAdapter, ValidationError

from service.architectures.build import Place, input_names
from service.architectures.check.check import Checked
from service.architectures.check.trace import BATCH, LayerRow
from service.architectures.validation import mistakes as architecture_mistakes
from service.datasets.dataset import Dataset, TabularDataset, load_dataset
from service.datasets.prepare.declaration import check_names
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared, Sources
from service.datasets.prepare.workspace import Nowhere
from service.datasets.sources.json import read_json
from service.datasets.validation import Mistakes
from service.errors import FieldError, InvalidRequest, NotFound
from service.jobs.parent import Parent
from service.preflight.cache import Known
from service.preflight.devices import check_placement, choose_device, is_served
from service.preflight.value_checks import check_steps, check_values, extremes_of
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec
from service.specs.base import field_errors
from service.specs.data import CONTENT, DataDeclaration, DatasetReference, DataSpec
from service.specs.job import JobRequest, Placement
from service.specs.partial import Partly, read_partly
from service.specs.training import TrainingSpec
from service.storage.storage import Storage
from service.training.check import check_components, check_fit, output_width, resolve, warn_of_fit
from service.training.class_weights import build_loss, resolve_class_weights
from service.training.device_placement import placed
from service.training.engines.candidate import Candidate
from service.training.losses import LOSSES, Targets
from service.training.metrics import task_of
from service.training.suggestions import suggest

# So many targets are shown to the loss and the metrics: all of a small dataset's.
ROWS_TRIED = 10_000
_SECTIONS: dict[str, TypeAdapter[Any]] = {
    "data": TypeAdapter(DataSpec),
    "architecture": TypeAdapter(ArchitectureSpec),
    "training": TypeAdapter(TrainingSpec),
}
_LOSS_MISSING = FieldError("#/training", "`loss` is required.")
_STATE_TENSORS = 4  # parameters, gradients and an Adam-like optimizer's two moments


@dataclass(frozen=True)
class Planned:
    """A job that can be run.

    Attributes:
        priority: its place in the queue.
        request: data, architecture, training and placement with every default and size filled in.
        report: what the preflight found: layers, print of the module, rows, output width.
        dataset: the content.
        dataset_id: the dataset that the request names; None when the content came with it.
        other_dataset_ids: of those that are a side of the split of their own.
        used: device (the queue it belongs in), engine (and why not the compiled one) and threads it will
            run with.
        group_key: equal for jobs that could train together.
        encoding: from data to tensors.
        parent: the job that it begins from.
    """

    name: str | None
    priority: int
    request: dict[str, Any]
    report: dict[str, Any]
    dataset: Dataset
    dataset_id: str | None
    other_dataset_ids: Sequence[str]
    used: dict[str, Any]
    group_key: str
    parameter_count: int
    memory_estimate_bytes: int
    encoding: Encoding
    parent: Parent | None


class Preflight:
    """The check of one request.

    Args:
        document: the parsed body.
        owner: whose datasets may be named.
        known: what was found about requests before.
    """

    def __init__(self, document: Any, owner: str, storage: Storage, settings: Settings, known: Known) -> None:
        self._document = document
        self._known = known
        self._owner = owner
        self._storage = storage
        self._settings = settings
        self._found: list[FieldError] = []
        self._devices = [worker.device for worker in storage.workers.alive(settings.heartbeat_seconds)]

    def plan(self) -> Planned:
        """The job to be queued.

        Raises:
            InvalidRequest: with every mistake in the request.
        """
        sections = self._read_sections()
        data, architecture, training = (sections.get(name) for name in _SECTIONS)
        partly = self._read_partly(sections)
        declared = data or partly["data"].spec
        parent = None if training is None else self._find_parent(training)
        training = parent.inherited(training) if parent and training else training
        sources = self._read_sources(declared)
        names = None if architecture is None else input_names(architecture)
        understood = None if data is None or sources is None else self._prepare(sources, data, names)
        prepared, workspace = understood or (None, Nowhere())
        if data is None or sources is None:
            self._found += partly["data"].told(self._name_mistakes(declared, sources))
        if sources is not None and _LOSS_MISSING in self._found:
            self._suggest_loss(sources.dataset, getattr(declared, "targets", None) or ())
        checked = self._check_architecture(architecture, prepared, training)
        if architecture is None and partly["architecture"].spec:
            found = architecture_mistakes(partly["architecture"].spec, Place("", "#/architecture"))
            self._found += partly["architecture"].told(found)
        if readable := training or partly["training"].spec:
            self._found += partly["training"].told(check_components(readable))
        if not self._found and data and training and sources and prepared and checked:
            with self._noting():
                extremes = extremes_of(prepared.encoding, workspace)
                return self._fit(data, training, prepared, extremes, checked, sources.dataset, parent)
        raise InvalidRequest(_count(self._found), self._found)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Mistakes raised inside are kept, to be told with the others."""
        try:
            yield
        except InvalidRequest as error:
            self._found += error.errors

    def _read_sections(self) -> dict[str, Any]:
        """The sections that can be read; what keeps others from it is noted."""
        document = self._document
        try:
            request = JobRequest.model_validate(document)
        except ValidationError as error:
            self._found += field_errors(error, document)
        else:
            self._found += check_placement(request, self._devices)
            return {name: getattr(request, name) for name in _SECTIONS}
        with suppress(ValidationError):  # noted above
            self._found += check_placement(self._placement(), self._devices)
        sections = {}
        for name, adapter in _SECTIONS.items():
            try:
                sections[name] = adapter.validate_python(document[name])
            except (ValidationError, KeyError, TypeError):
                continue  # noted above
        return sections

    def _read_partly(self, sections: Mapping[str, Any]) -> dict[str, Partly]:
        """The sections that can't be read as a whole, as far as they can be."""
        document = self._document if isinstance(self._document, dict) else {}
        nothing = Partly(None, frozenset())
        return {
            name: nothing
            if name in sections
            else read_partly(document.get(name), adapter, f"#/{name}") or nothing
            for name, adapter in _SECTIONS.items()
        }

    def _placement(self) -> Placement:
        document = self._document if isinstance(self._document, dict) else {}
        return Placement.model_validate(
            {name: document[name] for name in Placement.model_fields if name in document}
        )

    def _find_parent(self, training: TrainingSpec) -> Parent | None:
        with self._noting():
            return Parent.of(training, self._owner, self._storage)
        return None

    def _read_sources(self, data: DataDeclaration | None) -> Sources | None:
        """The content that the data section is about; None where some of it isn't there.

        Args:
            data: None where the section can't be read: content beside it is.
        """
        if isinstance(data, DatasetReference):
            dataset = self._stored(data.dataset_id, "#/data/dataset_id")
        else:
            dataset = self._read_inline()
        others = {
            side: self._stored(dataset_id, f"#/data/split/{side}_dataset_id")
            for side, dataset_id in (data.split.dataset_ids() if data else {}).items()
        }
        there = {side: other for side, other in others.items() if other is not None}
        return None if dataset is None or len(there) < len(others) else Sources(dataset, there)

    def _read_inline(self) -> Dataset | None:
        if content := self._content():
            with self._noting():
                return read_json(content, "#/data")
        return None

    def _content(self) -> dict[str, Any]:
        """The data section where it holds data of one form, as far as can be told; else nothing."""
        section = self._document.get("data") if isinstance(self._document, dict) else None
        if not isinstance(section, dict):
            return {}
        forms = [form for form in (*CONTENT, "dataset_id") if form in section]
        is_one = len(forms) == 1 and forms != ["dataset_id"]
        return section if is_one and isinstance(section.get("columns", {}), dict) else {}

    def _name_mistakes(self, data: DataDeclaration | None, sources: Sources | None) -> list[FieldError]:
        """What the names in a data section show to be wrong, where it or its content can't be read."""
        mistakes, columns = Mistakes(), self._column_names(sources)
        if data is not None and columns:
            check_names(data, columns, mistakes)
        return mistakes.listed

    def _column_names(self, sources: Sources | None) -> list[str]:
        """Those of the table; none where they can't be told."""
        if sources is not None:
            dataset = sources.dataset
            return list(dataset.table.column_names) if isinstance(dataset, TabularDataset) else []
        content = self._content()
        rows = content.get("rows")
        first = rows[0] if isinstance(rows, list) and rows else None
        return [*content.get("columns", first if isinstance(first, dict) else {})]

    def _stored(self, dataset_id: str, pointer: str) -> Dataset | None:
        try:
            artifact = self._storage.datasets.get(self._owner, dataset_id).artifact
        except NotFound as error:
            self._found.append(FieldError(pointer, error.detail))
            return None
        return load_dataset(self._storage.artifacts.path(artifact))

    def _prepare(
        self, sources: Sources, data: DataDeclaration, names: Sequence[str] | None
    ) -> tuple[Prepared, Nowhere] | None:
        """The data, checked; of the inputs only shapes, types and extremes are kept. What the targets are
        is the loss's to say; while the loss is unknown, the data are taken whichever way they are right."""
        loss = LOSSES.get(self._loss_name() or "")
        mistakes: list[Sequence[FieldError]] = []
        for targets in (loss.targets,) if loss else get_args(Targets):
            try:
                return self._known.data(sources, data, targets, names)
            except InvalidRequest as error:
                mistakes.append(error.errors)
        fewest: Sequence[FieldError] = min(mistakes, key=len)
        self._found += fewest
        return None

    def _loss_name(self) -> str | None:
        """The loss's name, also when the rest of the training section can't be read."""
        training = self._document.get("training")
        loss = training.get("loss") if isinstance(training, dict) else None
        name = loss.get("type") if isinstance(loss, dict) else loss
        return name if isinstance(name, str) else None

    def _suggest_loss(self, dataset: Dataset, targets: Sequence[str]) -> None:
        """Say with the mistake which loss would suit the targets: none is chosen for a client."""
        if suggestion := suggest(dataset, targets):
            detail = f"{_LOSS_MISSING.detail} {suggestion.advice()}"
            self._found[self._found.index(_LOSS_MISSING)] = FieldError(_LOSS_MISSING.pointer, detail)

    def _check_architecture(
        self, architecture: ArchitectureSpec | None, prepared: Prepared | None, training: TrainingSpec | None
    ) -> Checked | None:
        """The architecture with its sizes; without data, only names and arguments are checked."""
        if architecture is None:
            return None
        if prepared is None:
            self._found += architecture_mistakes(architecture, Place("", "#/architecture"))
            return None
        with self._noting():
            return self._known.architecture(architecture, _batch(prepared, training))
        return None

    def _fit(
        self,
        data: DataDeclaration,
        training: TrainingSpec,
        prepared: Prepared,
        extremes: Sequence[torch.Tensor],
        checked: Checked,
        dataset: Dataset,
        parent: Parent | None,
    ) -> Planned:
        """How the sections fit together."""
        training = self._weigh(training, prepared)
        batch_size = min(training.batch_size or prepared.train.rows, prepared.train.rows)
        self._check_fit(training, prepared, extremes, checked, batch_size, parent)
        placement = self._placement()
        reference = data if isinstance(data, DatasetReference) else None
        request = {
            "data": _declared(data),
            "architecture": checked.spec,
            "training": resolve(training, output_width(checked.output)),
            **placement.model_dump(mode="json"),
        }
        device = choose_device(placement, self._devices, checked.parameter_count * batch_size)
        engine = self._known.engines.choose(
            placement.engine, _candidate(training, prepared, checked, placement, device)
        )
        used = {
            "device": device,
            "engine": engine.engine,
            "engine_reason": engine.reason,
            "threads": self._settings.threads_per_worker,
        }
        if parent is not None and training.resume:
            self._check_continuation(parent, request, dataset, reference)
            used = orjson.loads(parent.job.used)
        return Planned(
            name=self._document.get("name"),
            priority=self._document.get("priority", 0),
            request=request,
            report=_report(training, prepared, checked),
            dataset=dataset,
            dataset_id=reference.dataset_id if reference else None,
            other_dataset_ids=list(data.split.dataset_ids().values()),
            used=used,
            group_key=_group_key(request, prepared),
            parameter_count=checked.parameter_count,
            memory_estimate_bytes=checked.parameter_bytes * _STATE_TENSORS + checked.activation_bytes,
            encoding=prepared.encoding,
            parent=parent,
        )

    def _check_fit(
        self,
        training: TrainingSpec,
        prepared: Prepared,
        extremes: Sequence[torch.Tensor],
        checked: Checked,
        batch_size: int,
        parent: Parent | None,
    ) -> None:
        """All that is wrong with the sections together."""
        errors = check_fit(
            training,
            checked.module,
            checked.output,
            prepared.train.targets[:ROWS_TRIED],
            prepared.encoding,
            training.epochs * math.ceil(prepared.train.rows / batch_size),
            prepared.validation is not None,
        )
        errors += check_steps(checked.module, prepared, batch_size)
        errors += check_values(training, prepared.encoding, checked, extremes)
        if parent is not None:
            errors += parent.check_model(checked.module)
        if errors or self._found:
            raise InvalidRequest(errors=errors)

    def _weigh(self, training: TrainingSpec, prepared: Prepared) -> TrainingSpec:
        """The section with its class weights as numbers; without, where they are wrong."""
        with self._noting():
            return resolve_class_weights(training, prepared.encoding, prepared.train.targets)
        return training.model_copy(update={"class_weights": None})

    def _check_continuation(
        self, parent: Parent, request: dict[str, Any], dataset: Dataset, reference: DatasetReference | None
    ) -> None:
        """Raise what keeps a job from going on as its parent did."""
        if reference is None:
            stored = self._storage.datasets.find(self._owner, dataset.digest)
            dataset_id = stored.id if stored else None
        else:
            dataset_id = reference.dataset_id
        same_data = dataset_id == parent.job.dataset_id
        errors = parent.check_request(request, self._document, same_data)
        if not is_served(parent.job.device, self._devices):
            detail = (
                f"{parent.job.id} was trained on `{parent.job.device}`, for which there is no worker now."
            )
            errors.append(FieldError("#", detail))
        if errors:
            raise InvalidRequest(errors=errors)


def _declared(data: DataDeclaration) -> dict[str, Any]:
    """The data section without the data: neither content nor, for tensors, names."""
    declared = data.model_dump(mode="json", exclude=set(CONTENT))
    unused = {name for name in ("features", "feature_groups", "dtypes", "types") if not declared.get(name)}
    if {"features", "feature_groups"} <= unused:
        unused.add("targets")  # of tensors: content, not names
    return {name: value for name, value in declared.items() if name not in unused}


def _report(training: TrainingSpec, prepared: Prepared, checked: Checked) -> dict[str, Any]:
    """What the job's owner is told of it beside the request."""
    warnings = (
        *checked.warnings,
        *warn_of_fit(training, checked.output, prepared.encoding.classes or ()),
    )
    return {
        "layers": checked.layers,
        "module": repr(checked.module),
        "output_width": output_width(checked.output),
        "warnings": [vars(warning) for warning in warnings],
        "rows": {
            "train": prepared.train.rows,
            "validation": prepared.validation.rows if prepared.validation else 0,
            "test": prepared.test.rows if prepared.test else 0,
            "dropped": prepared.dropped,
        },
        "inputs": prepared.encoding.inputs_document(),
        "transforms": [transform.to_document() for transform in prepared.encoding.transforms],
    }


def _batch(prepared: Prepared, training: TrainingSpec | None) -> list[torch.Tensor]:
    """One batch of each input, on the meta device."""
    size = training.batch_size if training else None
    return [x[: size or len(x)] for x in prepared.train.inputs]


def _candidate(
    training: TrainingSpec, prepared: Prepared, checked: Checked, placement: Placement, device: str
) -> Candidate:
    """The job as the choice of its engine sees it."""
    width, train = output_width(checked.output), prepared.train
    size = min(training.batch_size or train.rows, train.rows)
    return Candidate(
        architecture=checked.spec,
        model=checked.module,
        loss_fn=build_loss(training, prepared.encoding, width),
        spec=training,
        inputs=[x[:size] for x in train.inputs],
        targets=placed(train, LOSSES[training.loss.type], torch.device("meta")).targets[:size],
        rows=train.rows,
        task=task_of(LOSSES[training.loss.type], width),
        precision=placement.precision,
        on_gpu=device.startswith("cuda"),
        calls=sum(_steps_of(row, checked.module) for row in checked.layers),
        data_bytes=sum(x.nbytes for part in (train, prepared.validation) if part for x in part.inputs),
    )


def _steps_of(row: LayerRow, model: torch.nn.Module) -> int:
    """How often a call of a layer goes through its operators: a recurrence once for each of its steps."""
    layer = model.get_submodule(row["path"])
    if not isinstance(layer, torch.nn.RNNBase):
        return 1
    sequence = [size for size in row["input_shape"][:-1] if size != BATCH]
    return layer.num_layers * math.prod(map(int, sequence))


def _structure(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer without its numbers; without momentum, a step is another one."""
    words = {name: value for name, value in optimizer.items() if isinstance(value, str | bool)}
    return words | {"momentum": bool(optimizer.get("momentum"))}


def _group_key(request: dict[str, Any], prepared: Prepared) -> str:
    """Equal for jobs that differ in their data, seed, and the optimizer's and the classes' numbers only."""
    training = {name: value for name, value in request["training"].items() if name != "seed"}
    training["class_weights"] = training["class_weights"] is not None
    parts = [part for part in (prepared.train, prepared.validation) if part]
    same = {
        **{name: value for name, value in request.items() if name != "data"},
        "training": {**training, "optimizer": _structure(training["optimizer"])},
        "shapes": [list(x.shape) for part in parts for x in (*part.inputs, part.targets)],
    }
    return hashlib.sha256(orjson.dumps(same)).hexdigest()


def _count(errors: list[FieldError]) -> str:
    return "One thing is wrong with this request." if len(errors) == 1 else f"{len(errors)} things are wrong."
