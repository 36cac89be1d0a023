"""Job records as JSON."""

from collections.abc import Sequence
from typing import Any

import orjson

from service.api.http.responses import embedded, timestamp
from service.api.state import Services
from service.specs.job import JobStatus
from service.storage.job_record import Job


def job_documents(services: Services, page: Sequence[Job], root_path: str) -> list[bytes]:
    """Return jobs as JSON; see `job_document`."""
    positions = services.storage.queue.positions(page)
    return [_document(job, positions.get(job.id), root_path) for job in page]


def job_document(services: Services, job: Job, root_path: str) -> bytes:
    """Return a job as JSON; JSON columns of results are copied without parsing.

    Args:
        services: The services.
        job: The job.
        root_path: Prefix of the links.
    """
    return _document(job, services.storage.queue.position(job), root_path)


def _document(job: Job, queue_position: int | None, root_path: str) -> bytes:
    head = {
        "id": job.id,
        "name": job.name,
        "priority": job.priority,
        "status": job.status,
        "stop_reason": job.stop_reason,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "queue_position": queue_position,
        "progress": progress_document(job),
        "latest": embedded(job.latest),
        "best": embedded(job.best),
        "test": embedded(job.test),
        "dataset_id": job.dataset_id,
    }
    tail = {
        "used": embedded(job.used),
        "timings": embedded(job.timings),
        "parameter_count": job.parameter_count,
        "memory_estimate_bytes": job.memory_estimate_bytes,
        "attempt": job.attempt,
        "warnings": embedded(job.warnings),
        "error": _error(job, root_path),
        "cancel_requested": job.cancel_requested,
        "pause_requested": job.pause_requested,
        "links": _links(job, root_path),
    }
    request = orjson.loads(job.request)
    # The stored request of inline data has none: with it, the sections can be submitted again.
    request["data"] = {"dataset_id": job.dataset_id, **request["data"]}
    return orjson.dumps({**head, **request, **tail})


def progress_document(job: Job) -> dict[str, Any]:
    """Return the progress of a job."""
    eta_seconds = None
    if job.status is JobStatus.RUNNING and job.epoch_seconds is not None:
        eta_seconds = job.epoch_seconds * (job.epochs - job.epoch)
    return {
        "epoch": job.epoch,
        "epochs": job.epochs,
        "fraction": job.epoch / job.epochs if job.epochs else float(job.status is JobStatus.SUCCEEDED),
        "eta_seconds": eta_seconds,
    }


def _error(job: Job, root_path: str) -> orjson.Fragment | dict[str, Any] | None:
    if job.error is None or not root_path:
        return embedded(job.error)
    error = orjson.loads(job.error)
    return {**error, "type": root_path + error["type"], "instance": root_path + error["instance"]}


def _links(job: Job, root_path: str) -> dict[str, str]:
    here = f"{root_path}/v1/jobs/{job.id}"
    parts = (
        "history",
        "events",
        "logs",
        "checkpoints",
        "named_parameters",
        "predictions",
        "evaluations",
        "model",
        "encoding",
        "split",
        "pause",
        "resume",
        "cancel",
    )
    return {
        "self": here,
        "dataset": f"{root_path}/v1/datasets/{job.dataset_id}",
        **{part: f"{here}/{part}" for part in parts},
    }
