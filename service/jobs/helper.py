"""The helper process: short tasks on requests and models, one at a time, under a memory limit.

    python -m service.jobs.helper <fd>

Whoever calls has a time limit too, and ends this process when it is over.
"""

import hashlib
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import orjson
import structlog
import torch
from pydantic import ValidationError

from service.datasets.csv_reader import read_csv
from service.datasets.dataset import Dataset, TabularDataset, load_dataset
from service.datasets.json_reader import read_json
from service.datasets.report import describe, rows
from service.errors import FitserveError, InvalidRequest, LimitExceeded, NotJson
from service.inference.export import EXPORTS
from service.inference.parameters import named_parameter, named_parameters
from service.inference.predictions import as_csv, predict
from service.jobs.catalog import catalog
from service.jobs.channel import join_parent
from service.jobs.continuation import Parent
from service.jobs.models import Models
from service.jobs.preflight import Planned, Preflight
from service.logs import configure_logging
from service.settings import Settings
from service.specs.base import Spec, field_errors
from service.specs.data import DatasetContent
from service.specs.prediction import PredictionRequest
from service.storage.checkpoints import NewCheckpoint
from service.storage.datasets import NewDataset
from service.storage.job_record import NewJob, Start
from service.storage.storage import Storage
from service.training.warm_up import warm_up, warm_up_meta

log = structlog.get_logger()

Answer = tuple[Mapping[str, Any], bytes]
CSV = "text/csv"
S = TypeVar("S", bound=Spec)


class Tasks:
    """What a helper can be asked to do; each public method is a task."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._models = Models(storage)
        self._catalog = orjson.dumps(catalog())

    def fingerprint(self, body: bytes) -> Answer:
        """What tells requests apart: the hash of the parsed body."""
        document = parse_json(body)
        try:
            canonical = orjson.dumps(document)
        except orjson.JSONEncodeError:
            raise InvalidRequest("The body is nested too deep to be a request.") from None
        return {"fingerprint": hashlib.sha256(canonical).hexdigest()}, b""

    def check_job(self, body: bytes, owner: str, store: bool) -> Answer:
        """Check a job request; with `store`, write its inline data and give the rows to commit."""
        planned = Preflight(parse_json(body), owner, self._storage, self._settings).plan()
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
        dataset = planned.dataset_id or self._store_dataset(owner, planned.dataset, None)
        start = None if planned.parent is None else asdict(self._start(job.id, planned, planned.parent))
        return {"job": asdict(job), "dataset": dataset, "start": start}, b""

    def read_dataset(self, body: bytes, owner: str, media_type: str, name: str | None) -> Answer:
        """Read an upload and write its content; gives the row to commit."""
        if media_type == CSV:
            dataset: Dataset = read_csv(body)
        else:
            document = parse_json(body)
            content = _validated(DatasetContent, document)
            dataset, name = read_json(document), content.name or name
        return {"dataset": self._store_dataset(owner, dataset, name)}, b""

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
        self, body: bytes, owner: str, job_id: str, checkpoint: str | None, media_type: str, answer_type: str
    ) -> Answer:
        """Predictions of a job's model."""
        model = self._models.get(owner, job_id, checkpoint)
        answer = predict(model, self._prediction_rows(body, owner, media_type))
        return {}, as_csv(answer, model.encoding) if answer_type == CSV else orjson.dumps(answer)

    def export_model(
        self, body: bytes, owner: str, job_id: str, checkpoint: str | None, format: str
    ) -> Answer:
        """A job's model as a file of this format."""
        return {}, EXPORTS[format](self._models.get(owner, job_id, checkpoint))

    def catalog(self, body: bytes) -> Answer:
        """Everything a spec may name."""
        return {}, self._catalog

    def _start(self, job_id: str, planned: Planned, parent: Parent) -> Start:
        """Write the checkpoint that a job begins with; gives the row to commit."""
        resume = planned.request["training"]["resume"]
        content, epoch, step = parent.first_checkpoint(self._storage, resume, planned.encoding)
        artifact = self._storage.artifacts.put(f"checkpoints/{job_id}", content)
        return Start(parent.job.id, NewCheckpoint(epoch, artifact, len(content), step))

    def _prediction_rows(self, body: bytes, owner: str, media_type: str) -> Mapping[str, Any] | Dataset:
        if media_type == CSV:
            return read_csv(body)
        document = parse_json(body)
        request = _validated(PredictionRequest, document)
        if len(document) != 1:
            raise InvalidRequest("Give exactly one of `inputs`, `columns`, `rows` and `dataset_id`.")
        return document if request.dataset_id is None else self._dataset(owner, request.dataset_id)

    def _dataset(self, owner: str, dataset_id: str) -> Dataset:
        artifact = self._storage.datasets.get(owner, dataset_id).artifact
        return load_dataset(self._storage.artifacts.get(artifact))

    def _store_dataset(self, owner: str, dataset: Dataset, name: str | None) -> str | dict[str, Any]:
        """The id of equal content that the owner has already; else write it, and give the row to commit."""
        digest = dataset.digest()
        stored = self._storage.datasets.find(owner, digest)
        if stored is not None:
            return stored.id
        content = dataset.to_bytes()
        row = NewDataset(
            name=name,
            digest=digest,
            kind="tabular" if isinstance(dataset, TabularDataset) else "tensors",
            rows=dataset.rows,
            bytes=len(content),
            artifact=self._storage.artifacts.put("datasets", content),
            report=_json(describe(dataset)),
        )
        return asdict(row)


_TASKS: Mapping[str, Callable[..., Answer]] = {
    name: task for name, task in vars(Tasks).items() if not name.startswith("_")
}


def parse_json(body: bytes) -> Any:
    """The body as JSON, strictly: NaN, 1e999 and absurd nesting are refused.

    Raises:
        NotJson: with the place where it breaks.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not valid JSON: {error}.") from None


def _validated(model: type[S], document: Any) -> S:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(errors=field_errors(error, document)) from None


def _preflight_document(planned: Planned) -> dict[str, Any]:
    return {
        "valid": True,
        "name": planned.name,
        **planned.request,
        "used": planned.used,
        **planned.report,
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
    except Exception:
        log.exception("task failed", task=header["task"])
        return _problem(FitserveError("An unexpected error happened; the service's log has it.")), b""


def _problem(error: FitserveError) -> dict[str, Any]:
    errors = [asdict(each) for each in error.errors]
    return {"problem": {"slug": error.slug(), "detail": error.detail, "errors": errors}}


def main(argv: list[str]) -> None:
    """Answer until the parent is gone."""
    channel, settings, _ = join_parent(argv)
    configure_logging(settings.log_format)
    torch.set_num_threads(1)
    warm_up()
    warm_up_meta()
    # The data segment, not the address space: torch maps far more than it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (settings.helper_memory_bytes, settings.helper_memory_bytes))
    with Storage.open(settings) as storage:
        tasks = Tasks(storage, settings)
        channel.send({"event": "ready"})
        while True:
            try:
                header, body = channel.receive()
            except EOFError:
                return
            channel.send({"event": "begun"})  # from here on, the call may be why this process dies
            channel.send(*answer(tasks, header, body))


if __name__ == "__main__":
    main(sys.argv)
