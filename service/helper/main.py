"""The helper process: short tasks on requests and models, one at a time, under a memory limit.

Whoever calls has a time limit too, and ends this process when it is over.
"""

import hashlib
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import structlog
import torch

from service.datasets.dataset import Dataset, TabularDataset, load_dataset
from service.datasets.profile.report import describe, rows
from service.datasets.sources.formats import Source
from service.datasets.sources.read_errors import DISK_FULL
from service.datasets.write_dataset import Kind, Stored, store
from service.errors import FieldError, FitserveError, InvalidRequest, LimitExceeded, Unavailable
from service.helper.catalog import catalog
from service.helper.models import Models
from service.helper.request_bodies import in_memory, open_upload, parse_json, read_content, validated
from service.inference.answer_file import write_csv, write_json
from service.inference.encoding import encoding_document
from service.inference.evaluations import evaluate
from service.inference.exports import EXPORTS
from service.inference.parameters import named_parameter, named_parameters
from service.inference.predictions import as_csv, predict
from service.jobs.data import JobData, split_document
from service.jobs.parent import Parent
from service.logs import configure_logging
from service.preflight.cache import Known
from service.preflight.preflight import Planned, Preflight
from service.processes.channel import Channel
from service.runtime.garbage_collector import settle
from service.settings import Settings
from service.specs.evaluation import EvaluationRequest
from service.specs.prediction import PredictionRequest
from service.specs.upload import Upload
from service.storage.checkpoints import NewCheckpoint
from service.storage.datasets import NewDataset
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import NewJob, Start
from service.storage.storage import Storage
from service.training.engines import choice
from service.training.suggestions import suggest
from service.training.warm_up import reseed, warm_up, warm_up_before_fork

log = structlog.get_logger()

_WARM = object()

Answer = tuple[Mapping[str, Any], bytes]
CSV = "text/csv"
RETRY_AFTER_SECONDS = 60


class Tasks:
    """What a helper can be asked to do; each public method is a task."""

    def __init__(self, storage: Storage, settings: Settings, known: Known) -> None:
        self._storage = storage
        self._settings = settings
        self._models = Models(storage)
        self._known = known
        self._catalog = orjson.dumps(catalog())

    def check_job(self, body: bytes, owner: str, store: bool, key: str | None = None) -> Answer:
        """Check a job request; with `store`, write its inline data and give the rows to commit.

        Nothing is done for a job that has no room in the queue, or that was submitted with this key before:
        the answer is the id of the job of then.
        """
        document, idempotency = parse_json(body), None
        if key is not None:
            idempotency = IdempotencyKey(key, _fingerprint(document))
            earlier = self._storage.jobs.replay(owner, idempotency)
            if earlier is not None:
                return {"earlier": earlier.id}, b""
        if store:
            self._storage.jobs.check_room()
        planned = Preflight(document, owner, self._storage, self._settings, self._known).plan()
        if not store:
            return {"preflight": _preflight_document(planned)}, b""
        job = NewJob(
            name=planned.name,
            request=_json(planned.request),
            report=_json(planned.report),
            used=_json(planned.used),
            device=planned.used["device"],
            group_key=planned.group_key,
            parameter_count=planned.parameter_count,
            memory_estimate_bytes=planned.memory_estimate_bytes,
            epochs=planned.request["training"]["epochs"],
            priority=planned.priority,
        )
        dataset = planned.dataset_id or self._store_inline(owner, planned.dataset)
        start = None if planned.parent is None else asdict(self._start(job.id, planned, planned.parent))
        rows = {
            "job": asdict(job),
            "dataset": dataset,
            "start": start,
            "other_dataset_ids": list(planned.other_dataset_ids),
            "idempotency": idempotency and list(idempotency),
        }
        return rows, b""

    def read_dataset(self, body: bytes, owner: str, name: str | None, upload: dict[str, Any]) -> Answer:
        """Read an upload and write its content; gives the row to commit."""
        received = Upload.model_validate(upload)
        content = open_upload(received, self._settings)
        if isinstance(content, bytes):
            content, said = read_content(content)
            name = said or name
        path = Path(received.folder) / "dataset"
        stored = store(content, path, self._settings.max_dataset_bytes)
        return {"dataset": self._publishable(owner, stored, path, name)}, b""

    def dataset_rows(self, body: bytes, owner: str, dataset_id: str, offset: int, limit: int) -> Answer:
        """Rows of a dataset."""
        dataset = self._dataset(owner, dataset_id)
        document = {"offset": offset, "total": dataset.rows, "rows": rows(dataset, offset, limit)}
        return {}, orjson.dumps(document)

    def named_parameters(
        self, body: bytes, owner: str, job_id: str, checkpoint: str | None, include: list[str]
    ) -> Answer:
        """All parameters of a job's model."""
        return {}, orjson.dumps(named_parameters(self._models.get(owner, job_id, checkpoint), include))

    def named_parameter(
        self, body: bytes, owner: str, job_id: str, checkpoint: str | None, name: str
    ) -> Answer:
        """One parameter of a job's model."""
        return {}, orjson.dumps(named_parameter(self._models.get(owner, job_id, checkpoint), name))

    def predict(
        self,
        body: bytes,
        owner: str,
        job_id: str,
        checkpoint: str | None,
        answer_type: str,
        answer_file: str,
        upload: dict[str, Any] | None = None,
    ) -> Answer:
        """Predictions of a job's model, for a JSON body or an upload; of many rows, in a file."""
        model = self._models.get(owner, job_id, checkpoint)
        slices = predict(model, self._rows(body, upload, owner, PredictionRequest, model.encoding.features))
        first = next(slices)
        second = next(slices, None)
        if second is None:
            return {}, as_csv(first, model.encoding) if answer_type == CSV else orjson.dumps(first)
        slices = chain([first, second], slices)
        if answer_type == CSV:
            write_csv(Path(answer_file), slices, model.encoding)
        else:
            write_json(Path(answer_file), slices)
        return {"in_file": True}, b""

    def evaluate(
        self,
        body: bytes,
        owner: str,
        job_id: str,
        checkpoint: str | None,
        worst: int,
        upload: dict[str, Any] | None = None,
    ) -> Answer:
        """Loss, metrics and the worst rows of a job's model, for labelled rows as in `predict`."""
        model = self._models.get(owner, job_id, checkpoint)
        names = [*model.encoding.features, *model.encoding.targets]
        answer = evaluate(model, self._rows(body, upload, owner, EvaluationRequest, names), worst)
        return {}, orjson.dumps(answer)

    def export_model(
        self, body: bytes, owner: str, job_id: str, checkpoint: str | None, format: str
    ) -> Answer:
        """A job's model as a file of this format."""
        return {}, EXPORTS[format](self._models.get(owner, job_id, checkpoint))

    def encoding(self, body: bytes, owner: str, job_id: str, checkpoint: str | None) -> Answer:
        """How a job's model takes raw data, with the constants of its transforms."""
        return {}, orjson.dumps(encoding_document(self._models.get(owner, job_id, checkpoint)))

    def split(self, body: bytes, owner: str, job_id: str, offset: int, limit: int) -> Answer:
        """Which rows of its data a job trains, validates and tests on."""
        data = JobData.of(self._storage.jobs.get(owner, job_id), self._storage)
        return {}, orjson.dumps(split_document(data, offset, limit))

    def catalog(self, body: bytes) -> Answer:
        """Everything a spec may name."""
        return {}, self._catalog

    def _start(self, job_id: str, planned: Planned, parent: Parent) -> Start:
        """Write the checkpoint that a job begins with; gives the row to commit."""
        resume = planned.request["training"]["resume"]
        content, epoch, step = parent.first_checkpoint(self._storage, resume, planned.encoding)
        artifact = self._storage.artifacts.put(f"checkpoints/{job_id}", content)
        return Start(parent.job.id, NewCheckpoint(epoch, artifact, len(content), step))

    def _rows(
        self,
        body: bytes,
        upload: dict[str, Any] | None,
        owner: str,
        spec: type[PredictionRequest],
        names: Sequence[str],
    ) -> Mapping[str, Any] | Dataset:
        """The rows that a JSON body spells out or names, or an upload's columns of these names."""
        if upload is None:
            content: Source | bytes = body
        else:
            content = open_upload(Upload.model_validate(upload), self._settings, names)
        if not isinstance(content, bytes):
            return in_memory(content)
        document = parse_json(content)
        request = validated(spec, document)
        if len(document.keys() - {"targets"}) != 1:
            detail = "Give exactly one of `inputs`, `columns`, `rows` and `dataset_id`."
            raise InvalidRequest(errors=[FieldError("#", detail)])
        return document if request.dataset_id is None else self._dataset(owner, request.dataset_id)

    def _dataset(self, owner: str, dataset_id: str) -> Dataset:
        artifact = self._storage.datasets.get(owner, dataset_id).artifact
        return load_dataset(self._storage.artifacts.path(artifact))

    def _store_inline(self, owner: str, dataset: Dataset) -> str | dict[str, Any]:
        """As `_publishable`, of data that came with a job."""
        digest = dataset.digest
        found = self._storage.datasets.find(owner, digest)
        if found is not None:
            return found.id
        content = dataset.to_bytes()
        kind: Kind = "tabular" if isinstance(dataset, TabularDataset) else "tensors"
        stored = Stored(kind, dataset.rows, len(content), digest, describe(dataset))
        return self._publishable(owner, stored, content, None, inline=True)

    def _publishable(
        self, owner: str, stored: Stored, content: bytes | Path, name: str | None, *, inline: bool = False
    ) -> str | dict[str, Any]:
        """The id of equal content that the owner has already; else keep it, and give the row to commit."""
        found = self._storage.datasets.find(owner, stored.digest)
        if found is not None:
            return found.id
        row = NewDataset(
            name=name,
            digest=stored.digest,
            kind=stored.kind,
            rows=stored.rows,
            bytes=stored.bytes,
            artifact=self._storage.artifacts.put("datasets", content),
            report=_json(stored.report),
            inline=inline,
        )
        return asdict(row)


_TASKS: Mapping[str, Callable[..., Answer]] = {
    name: task for name, task in vars(Tasks).items() if not name.startswith("_")
}


def _fingerprint(document: Any) -> str:
    """What tells requests apart: the hash of the parsed body."""
    try:
        canonical = orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The body is nested too deep to be a request.") from None
    return hashlib.sha256(canonical).hexdigest()


def _preflight_document(planned: Planned) -> dict[str, Any]:
    suggestion = suggest(planned.dataset, planned.request["data"].get("targets", ()))
    return {
        "valid": True,
        "name": planned.name,
        **planned.request,
        "used": planned.used,
        **planned.report,
        "suggestions": suggestion and asdict(suggestion),
        "parameter_count": planned.parameter_count,
        "memory_estimate_bytes": planned.memory_estimate_bytes,
    }


def _json(document: Any) -> str:
    return orjson.dumps(document).decode()


def answer(tasks: Tasks, header: Mapping[str, Any], body: bytes) -> Answer:
    """Run one task; its errors are answers too."""
    try:
        return _TASKS[header["task"]](tasks, body, **header["arguments"])
    except FitserveError as error:
        return _problem(error), b""
    except RecursionError:
        return _problem(InvalidRequest("The body is nested too deep to be a request.")), b""
    except MemoryError:
        return _problem(LimitExceeded("The request needs more memory than it may take.")), b""
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return _problem(Unavailable("The disk is full.", retry_after_seconds=RETRY_AFTER_SECONDS)), b""
        log.exception("task failed", task=header["task"])
        return _problem(FitserveError("An unexpected error happened; the service's log has it.")), b""


def _problem(error: FitserveError) -> dict[str, Any]:
    problem = {
        "slug": error.slug(),
        "detail": error.detail,
        "errors": [asdict(each) for each in error.errors],
        "retry_after_seconds": error.retry_after_seconds,
    }
    return {"problem": problem}


def preload() -> None:
    """Do what the fork server may do for its children."""
    warm_up_before_fork()
    choice.preload()


def main(channel: Channel) -> None:
    """Answer until the parent is gone."""
    settings = channel.receive_settings()
    configure_logging(settings.log_format)
    reseed()
    torch.set_num_threads(1)
    warm_up(torch.device("cpu"))
    # The data segment, not the address space: torch maps far more than it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (settings.helper_memory_bytes, settings.helper_memory_bytes))
    with Storage.open(settings) as storage:
        known = Known(settings)
        tasks = Tasks(storage, settings, known)
        settle()
        channel.send({"event": "ready"})
        warming = known.engines.warm_up()
        while True:
            try:
                while not channel.ready(0.0) and next(warming, _WARM) is not _WARM:
                    settle()
                header, body = channel.receive()
            except EOFError:
                return
            channel.send(*answer(tasks, header, body))
