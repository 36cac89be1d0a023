"""Jobs that start from another job: with its parameters, or as its exact continuation."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson
import torch
from torch import nn

from service.architectures.build import build
from service.datasets.prepare.encoding import Encoding
from service.errors import FieldError, InvalidRequest, JobNotFound, pointer_to
from service.jobs.checkpoint_reads import read_checkpoint
from service.specs.architecture import read_architecture
from service.specs.data import DataDeclaration
from service.specs.job import StopReason
from service.specs.training import TrainingSpec
from service.specs.upload import ReadOptions
from service.storage.checkpoints import Checkpoint as CheckpointRow
from service.storage.job_record import Job
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint, Snapshot, read_encoding
from service.training.schedulers import spans_whole_training

FROM_JOB = "#/training/from_job"
# Pointers to the fields in which a continuation may differ from the job that it continues.
MAY_DIFFER = {
    f"#/training/{name}"
    for name in (
        *("epochs", "from_job", "resume", "checkpoint_every", "max_runtime_seconds"),
        "initial_parameters",  # a continuation starts from a checkpoint
    )
}
MAX_SHOWN_DIFFERENCES = 5
_MISSING = object()


@dataclass(frozen=True)
class Parent:
    """The job that a new job starts from.

    Attributes:
        job: Its record.
        request: Its request, completed.
        report: Its report.
        newest: Its newest checkpoint.
    """

    job: Job
    request: Mapping[str, Any]
    report: Mapping[str, Any]
    newest: CheckpointRow

    @classmethod
    def of(cls, training: TrainingSpec, owner: str, storage: Storage) -> Self | None:
        """Find the job that `from_job` names; return None if it names none.

        Raises:
            InvalidRequest: The job does not exist, or a job can't start from it.
        """
        if training.from_job is None:
            if training.resume:
                detail = "`resume` continues the job that `from_job` names; add `from_job`."
                raise InvalidRequest(errors=[FieldError("#/training/resume", detail)])
            return None
        try:
            job = storage.jobs.get(owner, training.from_job)
            checkpoints = storage.checkpoints.of_job(owner, training.from_job)
        except JobNotFound as error:
            raise InvalidRequest(errors=[FieldError(FROM_JOB, error.detail)]) from None
        if training.resume and not job.status.ended:
            detail = f"This job is {job.status}; it can be continued after it has ended."
            raise InvalidRequest(errors=[FieldError(FROM_JOB, detail)])
        if not checkpoints:
            raise InvalidRequest(errors=[FieldError(FROM_JOB, "This job has no checkpoint to start from.")])
        parent = cls(job, orjson.loads(job.request), orjson.loads(job.report), checkpoints[-1])
        if training.resume and (errors := list(parent._resume_errors(training))):
            raise InvalidRequest(errors=errors)
        return parent

    def _resume_errors(self, training: TrainingSpec) -> Iterator[FieldError]:
        """Check the training section of a continuation."""
        reason = _FINAL.get(self.job.stop_reason)
        if reason is not None:
            yield FieldError(FROM_JOB, f"{reason} Remove `resume` to start with its parameters.")
        if training.epochs <= self.newest.epoch:
            detail = f"The job has completed epoch {self.newest.epoch}; the total must be larger."
            yield FieldError("#/training/epochs", detail)
        requested = self.request["training"]["epochs"]
        if training.scheduler and spans_whole_training(training.scheduler) and training.epochs != requested:
            detail = (
                f"`{training.scheduler.type}` was set up for {requested} epochs in total; a continuation "
                "can't change this number."
            )
            yield FieldError("#/training/scheduler", detail)

    def inherited(self, training: TrainingSpec) -> TrainingSpec:
        """Fill in the seed, which a continuation need not repeat."""
        if training.resume and training.seed is None:
            return training.model_copy(update={"seed": self.request["training"]["seed"]})
        return training

    def inherited_reading(self, data: DataDeclaration) -> DataDeclaration:
        """Fill in how the parent's tables are read: types of the columns used here, and formats of cells."""
        then = self.request["data"]
        named = getattr(data, "features", None) or [
            name for names in (getattr(data, "feature_groups", None) or {}).values() for name in names
        ]
        targets = getattr(data, "targets", None)
        others = [getattr(data, "weights", None), *getattr(data, "id", ())]
        listed = [*named, *(targets if isinstance(targets, list) else ()), *others]
        used = {name for name in listed if isinstance(name, str)}  # those of tensors are no names
        types = {name: kind for name, kind in then.get("types", {}).items() if name in used}
        reading = ReadOptions(**then.get("reading", {}) | data.reading.model_dump(exclude_unset=True))
        return data.model_copy(update={"types": {**types, **data.column_types()}, "reading": reading})

    def encoding(self, storage: Storage) -> Encoding:
        """Read the encoding of its model."""
        document = read_checkpoint(
            storage,
            self.job.owner,
            self.job.id,
            lambda rows: rows[-1],
            lambda row: storage.artifacts.load(row.artifact, read_encoding),
        )
        return Encoding.from_document(document)

    def check_model(self, model: nn.Module) -> list[FieldError]:
        """Check that a model on the meta device has the shapes of the parent's parameters and buffers."""
        with torch.device("meta"):
            own = _shapes(build(read_architecture(self.request["architecture"])))
        required = _shapes(model)
        differences = [
            f"`{name}` is {required.get(name, 'missing')} here and {own.get(name, 'missing')} in that job"
            for name in {**required, **own}
            if required.get(name) != own.get(name)
        ]
        if not differences:
            return []
        more = ", …" if len(differences) > MAX_SHOWN_DIFFERENCES else "."
        return [FieldError(FROM_JOB, "; ".join(differences[:MAX_SHOWN_DIFFERENCES]) + more)]

    def check_request(self, request: Mapping[str, Any], document: Any, same_data: bool) -> list[FieldError]:
        """Check that a continuation repeats the parent's request.

        Args:
            request: The continuation's request, completed.
            document: The same request as it was sent, which pointers refer to.
            same_data: Whether it uses the parent's dataset.
        """
        errors = [] if same_data else [FieldError("#/data", f"{self.job.id} was trained on other data.")]
        # The requests of old jobs have declared types only, not those that were found.
        then = self.request["data"].get("types", {})
        declared = document.get("data", {}).get("types", {})
        types = {
            name: kind
            for name, kind in request["data"].get("types", {}).items()
            if name in {**then, **declared}
        }
        data = {name: value for name, value in request["data"].items() if name != "types"}
        now = {**request, "data": {**data, **({"types": types} if types else {})}}
        return errors + list(_differences(now, self.request, "#", document))

    def first_checkpoint(self, storage: Storage, resume: bool, encoding: Encoding) -> tuple[bytes, int, int]:
        """Make the checkpoint that the new job starts with.

        Args:
            storage: Where the parent's checkpoints are.
            resume: Whether to take the whole newest checkpoint, or only the parameters used for predictions.
            encoding: The new job's encoding.

        Returns:
            The content of the checkpoint, its epoch and its step.
        """
        newest, body = read_checkpoint(
            storage,
            self.job.owner,
            self.job.id,
            lambda rows: rows[-1],
            lambda row: (row, storage.artifacts.get(row.artifact)),
        )
        if resume:
            return body, newest.epoch, newest.step
        checkpoint = Checkpoint.from_bytes(body)
        training = TrainingSpec.model_validate(self.request["training"])
        best = checkpoint.best if training.predicts_best else None
        start = Snapshot(0, (best or checkpoint.last).state, {})
        return Checkpoint(start, encoding=encoding.to_document()).to_bytes(), 0, 0


_FINAL: Mapping[StopReason | None, str] = {
    StopReason.EARLY_STOPPING: "This job was ended by early stopping.",
    StopReason.DIVERGED: "This job has diverged.",
}


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def _differences(now: Any, then: Any, pointer: str, document: Any, shown: str = "") -> Iterator[FieldError]:
    """Yield the differences between two requests; each pointer leads to a value of the document as sent.

    Args:
        now: The continuation's request, completed, or a part of it.
        then: The parent's request, or the same part of it.
        pointer: Pointer to this part of the completed request.
        document: The same part of the request as sent.
        shown: If the document lacks this part, pointer to the smallest part that it has around it.
    """
    if pointer in MAY_DIFFER or (then is _MISSING and not now):
        return  # a field that an earlier version did not have is null, false or empty by default
    parts: Collection[Any] = ()
    if isinstance(now, dict) and isinstance(then, dict):
        parts = {**now, **then}
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        parts = range(len(now))
    elif now != then:
        name = f"`{pointer.removeprefix(f'{shown}/')}`" if shown else "This"
        detail = f"{name} is {_quote(now)}, but was {_quote(then)} in the job to continue."
        yield FieldError(shown or pointer, detail)
    for part in parts:
        inside = _at(document, part)
        ends = shown or (pointer if inside is _MISSING else "")
        yield from _differences(_at(now, part), _at(then, part), pointer_to(pointer, part), inside, ends)


def _at(value: Any, part: Any) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return _MISSING


def _quote(value: Any) -> str:
    return "missing" if value is _MISSING else f"`{orjson.dumps(value).decode()}`"
