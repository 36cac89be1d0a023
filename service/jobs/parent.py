"""Jobs that begin where another has come to: with its parameters, or as its exact continuation."""

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
from service.specs.job import StopReason
from service.specs.training import TrainingSpec
from service.storage.checkpoints import Checkpoint as CheckpointRow
from service.storage.job_record import Job
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.schedulers import is_of_the_whole_training

FROM_JOB = "#/training/from_job"
# What a continuation may have otherwise than the job that it continues.
FREE = {
    f"#/training/{name}"
    for name in ("epochs", "from_job", "resume", "checkpoint_every", "max_runtime_seconds")
}
SHOWN_DIFFERENCES = 5
_MISSING = object()


@dataclass(frozen=True)
class Parent:
    """The job that another begins from.

    Attributes:
        job: its record.
        request: what it was asked for, all filled in.
        newest: its newest checkpoint.
    """

    job: Job
    request: Mapping[str, Any]
    newest: CheckpointRow

    @classmethod
    def of(cls, training: TrainingSpec, owner: str, storage: Storage) -> Self | None:
        """The job named by `from_job`, if one is.

        Raises:
            InvalidRequest: when it can't be begun from.
        """
        if training.from_job is None:
            if training.resume:
                detail = "`resume` continues the job that `from_job` names: give that too."
                raise InvalidRequest(errors=[FieldError("#/training/resume", detail)])
            return None
        try:
            job = storage.jobs.get(owner, training.from_job)
            checkpoints = storage.checkpoints.of_job(owner, training.from_job)
        except JobNotFound as error:
            raise InvalidRequest(errors=[FieldError(FROM_JOB, error.detail)]) from None
        if training.resume and not job.status.ended:
            detail = f"This job is {job.status}: it can be continued once it has ended."
            raise InvalidRequest(errors=[FieldError(FROM_JOB, detail)])
        if not checkpoints:
            raise InvalidRequest(errors=[FieldError(FROM_JOB, "This job has no checkpoint to begin from.")])
        parent = cls(job, orjson.loads(job.request), checkpoints[-1])
        if training.resume and (errors := list(parent._why_not_resumed(training))):
            raise InvalidRequest(errors=errors)
        return parent

    def _why_not_resumed(self, training: TrainingSpec) -> Iterator[FieldError]:
        """What of a continuation can be told from the training section."""
        reason = _FINAL.get(self.job.stop_reason)
        if reason is not None:
            yield FieldError(FROM_JOB, f"{reason} Leave `resume` out to begin with its parameters.")
        if training.epochs <= self.newest.epoch:
            detail = f"The job has come to epoch {self.newest.epoch}: ask for more in all."
            yield FieldError("#/training/epochs", detail)
        asked_for = self.request["training"]["epochs"]
        if (
            training.scheduler
            and is_of_the_whole_training(training.scheduler)
            and training.epochs != asked_for
        ):
            detail = (
                f"`{training.scheduler.type}` was made for the {asked_for} epochs of the whole training: "
                "it can't go on to another number."
            )
            yield FieldError("#/training/scheduler", detail)

    def inherited(self, training: TrainingSpec) -> TrainingSpec:
        """The training section with what a continuation need not repeat: the seed."""
        if training.resume and training.seed is None:
            return training.model_copy(update={"seed": self.request["training"]["seed"]})
        return training

    def check_model(self, model: nn.Module) -> list[FieldError]:
        """Whether a model, on the meta device, takes the parameters and buffers."""
        with torch.device("meta"):
            own = _shapes(build(read_architecture(self.request["architecture"])))
        wanted = _shapes(model)
        differences = [
            f"`{name}` is {wanted.get(name, 'not there')} here and {own.get(name, 'not there')} in that job"
            for name in {**wanted, **own}
            if wanted.get(name) != own.get(name)
        ]
        if not differences:
            return []
        more = ", …" if len(differences) > SHOWN_DIFFERENCES else "."
        return [FieldError(FROM_JOB, "; ".join(differences[:SHOWN_DIFFERENCES]) + more)]

    def check_request(self, request: Mapping[str, Any], document: Any, same_data: bool) -> list[FieldError]:
        """Whether a continuation repeats what the job was asked for.

        Args:
            request: of the continuation, all filled in.
            document: the same as it was sent: pointers lead into it.
            same_data: whether it has the job's dataset.
        """
        errors = [] if same_data else [FieldError("#/data", f"{self.job.id} was trained on other data.")]
        return errors + list(_differences(request, self.request, "#", document))

    def first_checkpoint(self, storage: Storage, resume: bool, encoding: Encoding) -> tuple[bytes, int, int]:
        """The checkpoint that the new job begins with, its epoch and its step.

        Args:
            storage: where the job's checkpoints are.
            resume: all of the newest checkpoint instead of only the parameters that predict.
            encoding: the new job's.
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
        stopping = self.request["training"]["early_stopping"]
        best = checkpoint.best if stopping and stopping["restore_best"] else None
        begin = Snapshot(0, (best or checkpoint.last).state, {})
        return Checkpoint(begin, encoding=encoding.to_document()).to_bytes(), 0, 0


_FINAL: Mapping[StopReason | None, str] = {
    StopReason.EARLY_STOPPING: "This job has stopped early: its patience is over.",
    StopReason.DIVERGED: "This job has diverged.",
}


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def _differences(now: Any, then: Any, place: str, document: Any, shown: str = "") -> Iterator[FieldError]:
    """Where two requests differ; the pointers go as far as there is something in the document.

    Args:
        place: where in the requests, all filled in.
        shown: the pointer into the document, where it ends before the place.
    """
    if place in FREE:
        return
    parts: Collection[Any] = ()
    if isinstance(now, dict) and isinstance(then, dict):
        parts = {**now, **then}
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        parts = range(len(now))
    elif now != then:
        what = f"`{place.removeprefix(f'{shown}/')}`" if shown else "It"
        detail = f"{what} is {_shown(now)}, and was {_shown(then)} in the job to be continued."
        yield FieldError(shown or place, detail)
    for part in parts:
        inside = _at(document, part)
        ends = shown or (place if inside is _MISSING else "")
        yield from _differences(_at(now, part), _at(then, part), pointer_to(place, part), inside, ends)


def _at(value: Any, part: Any) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return _MISSING


def _shown(value: Any) -> str:
    return "left out" if value is _MISSING else f"`{orjson.dumps(value).decode()}`"
