"""Jobs: submit, list, read, pause, resume, cancel, delete."""

import time
from typing import Annotated

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from service import retry_after
from service.api.http import requests
from service.api.http.headers import JOB_LINKS, headers
from service.api.http.responses import json_body, json_response, problems
from service.api.http.route import DocumentedRoute
from service.api.schemas import jobs as schemas
from service.api.schemas.job_document import job_document
from service.api.state import Owner, Services, ServicesDependency
from service.errors import (
    ContentTooLarge,
    DatasetNotFound,
    FieldError,
    IdempotencyKeyReused,
    InvalidRequest,
    JobNotEnded,
    JobNotFound,
    JobNotPaused,
    JobNotRunning,
    LimitExceeded,
    NotJson,
    PreconditionFailed,
    QueueFull,
    StorageFull,
    Unavailable,
    UnsupportedMediaType,
)
from service.helper.messages import CheckJob, EarlierJob, PlanJob
from service.specs.base import Name
from service.specs.job import JobRequest, JobStatus
from service.storage.datasets import NewDataset
from service.storage.job_record import Job
from service.storage.pages import Cursor
from service.storage.planned_job import PlannedJob

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=DocumentedRoute)

log = structlog.get_logger()

MAX_KEY_LENGTH = 255
_SUBMISSION_HEADERS = ("ETag", "Location", "Retry-After", "Preference-Applied", "Idempotency-Replayed")


class SubmitQuery(requests.Query):
    """Options of a submission."""

    validate_only: bool = False
    """Only check the request: return the preflight report and create no job."""


class ListQuery(requests.Query):
    """Filters and page of a list."""

    status: JobStatus | None = None
    """Only list jobs with this status."""
    name: Name | None = None
    """Only list jobs with this name."""
    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Maximum number of jobs on the page."""
    page_token: str | None = None
    """The `next_page_token` of the previous page."""


@router.post(
    "",
    status_code=202,
    response_model=schemas.Job,
    openapi_extra=json_body(JobRequest),
    responses={
        202: {
            "description": "The job is queued, or had not ended when the wait expired.",
            **headers(*_SUBMISSION_HEADERS),
            **JOB_LINKS,
        },
        200: {
            "model": schemas.Submission,
            "description": "The job ended within the wait; with `validate_only`, the preflight report.",
            **headers(*_SUBMISSION_HEADERS),
        },
        **problems(
            NotJson,
            ContentTooLarge,
            UnsupportedMediaType,
            InvalidRequest,
            IdempotencyKeyReused,
            LimitExceeded,
        ),
        **problems(QueueFull, StorageFull),
    },
)
async def submit_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    query: Annotated[SubmitQuery, Query()],
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Key for retries: the same key and body return the same job.",
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY_LENGTH},
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=30` waits 30 s for the end of the job; 60 at most.")
    ] = None,
) -> Response:
    """Submit a training job.

    All errors in the request are reported together, before a job is created. With `Prefer: wait=…` the
    response is sent when the job has ended (200) or when the wait expires (202).
    """
    requests.media_type(request, requests.JSON)
    wait_seconds = requests.preferred_wait_seconds(request)
    if not query.validate_only:
        await run_in_threadpool(services.storage.room.check, requests.declared_bytes(request))
    async with services.bodies.read(request) as body:
        started = time.monotonic()
        if query.validate_only:
            _, report = await services.helpers.call(CheckJob(owner), body)
            return json_response(report)
        job, created = await _submit(services, owner, body, requests.unquoted(idempotency_key))
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(retry_after.JOB_ACCEPTED_SECONDS)}
    if not created:
        headers["Idempotency-Replayed"] = "true"
    if wait_seconds is not None:
        headers["Preference-Applied"] = f"wait={wait_seconds:g}"
        job = await _wait_for_end(services, owner, job, wait_seconds - (time.monotonic() - started))
    return await run_in_threadpool(job_response, services, job, 200 if job.status.ended else 202, headers)


async def _submit(services: Services, owner: str, body: bytes, key: str | None) -> tuple[Job, bool]:
    """Check the request and queue the job; a repeated key returns the earlier job."""
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        error = FieldError("Idempotency-Key", f"Use 1 to {MAX_KEY_LENGTH} characters.")
        raise InvalidRequest("The Idempotency-Key is empty or too long.", [error])
    try:
        return await _check_and_queue(services, owner, body, key)
    except (DatasetNotFound, JobNotFound):
        # The dataset, or the job to continue from, was deleted between the check and the commit. A second
        # check reports this or, if the data was sent with the request, writes it again.
        return await _check_and_queue(services, owner, body, key)


async def _check_and_queue(services: Services, owner: str, body: bytes, key: str | None) -> tuple[Job, bool]:
    planned, _ = await services.helpers.call(PlanJob(owner, key), body)
    if isinstance(planned, EarlierJob):
        return await run_in_threadpool(services.storage.jobs.get, owner, planned.job_id), False
    return await services.commits.run(_queue, services, owner, planned)


def _queue(services: Services, owner: str, planned: PlannedJob) -> tuple[Job, bool]:
    """Commit a checked job and its data, and wake a worker."""
    unused = planned.artifacts()
    try:
        submitted, created = services.storage.jobs.submit(owner, planned)
        if isinstance(planned.dataset, NewDataset) and submitted.dataset_id == planned.dataset.id:
            unused.remove(planned.dataset.artifact)  # otherwise equal content was committed concurrently
        if planned.start is not None and created:
            unused.remove(planned.start.checkpoint.artifact)
    except Unavailable as error:
        if not isinstance(error, QueueFull | StorageFull):
            unused.clear()  # unknown whether it was committed
        raise
    finally:
        services.storage.artifacts.discard(unused)
    if created:
        log.info("job accepted", job_id=submitted.id, owner=owner, device=submitted.device)
    services.executor.wake(submitted.device)
    services.watch.changed(submitted.id)
    return submitted, created


async def _wait_for_end(services: Services, owner: str, job: Job, seconds: float) -> Job:
    """Wait until a job has ended or the time expires; return its record."""
    deadline = time.monotonic() + seconds
    with services.watch.watching(job.id) as changes:
        while True:
            changes.clear()
            job = await run_in_threadpool(services.storage.jobs.get, owner, job.id)
            remaining = deadline - time.monotonic()
            if job.status.ended or remaining <= 0 or services.watch.closed:
                return job
            await services.watch.wait(changes, remaining)


@router.get("", response_model=schemas.JobPage, responses=problems(InvalidRequest))
def list_jobs(services: ServicesDependency, owner: Owner, query: Annotated[ListQuery, Query()]) -> Response:
    """List jobs, newest first."""
    before = Cursor.of_token(query.page_token) if query.page_token else None
    jobs = services.storage.jobs.list(owner, query.status, query.name, query.page_size + 1, before)
    page, more = jobs[: query.page_size], len(jobs) > query.page_size
    return json_response(
        {
            "items": [orjson.Fragment(job_document(services, job)) for job in page],
            "next_page_token": page[-1].cursor.token() if more else None,
        }
    )


@router.get(
    "/{job_id}",
    response_model=schemas.Job,
    responses={
        200: headers("ETag"),
        304: {"description": "The job still has the version given in If-None-Match.", **headers("ETag")},
        **problems(JobNotFound),
    },
)
def get_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    if_none_match: Annotated[str | None, Header(description="Return 304 if the ETag matches.")] = None,
) -> Response:
    """Get a job.

    Its ETag is the version of its record; poll with `If-None-Match`.
    """
    job = services.storage.jobs.get(owner, job_id)
    if requests.matches(_etag(job), if_none_match):
        return Response(status_code=304, headers={"ETag": _etag(job)})
    return job_response(services, job)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_model=schemas.Job,
    responses={
        200: {"model": schemas.Job, "description": "The job had already ended.", **headers("ETag")},
        202: {
            "description": "The job is cancelled, or its worker will cancel it shortly.",
            **headers("ETag"),
        },
        **problems(JobNotFound),
    },
)
def cancel_job(services: ServicesDependency, owner: Owner, job_id: str) -> Response:
    """Cancel a job.

    A waiting job is cancelled immediately, a running one shortly after. A job that has already ended stays
    unchanged (200).
    """
    had_ended = services.storage.jobs.get(owner, job_id).status.ended
    job = services.storage.jobs.cancel(owner, job_id)
    if not job.status.ended:
        services.executor.cancel(job_id)
    services.watch.changed(job_id)
    return job_response(services, job, 200 if had_ended else 202)


@router.post(
    "/{job_id}/pause",
    status_code=202,
    response_model=schemas.Job,
    responses={202: headers("ETag"), **problems(JobNotFound, JobNotRunning)},
)
def pause_job(services: ServicesDependency, owner: Owner, job_id: str) -> Response:
    """Pause a job.

    A queued job is paused immediately, a running one after its current step, with a checkpoint.
    """
    job = services.storage.jobs.pause(owner, job_id)
    services.watch.changed(job_id)
    return job_response(services, job, 202)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    response_model=schemas.Job,
    responses={202: headers("ETag"), **problems(JobNotFound, JobNotPaused)},
)
def resume_job(services: ServicesDependency, owner: Owner, job_id: str) -> Response:
    """Resume a paused job.

    The job returns to its former position in the queue and continues exactly from its checkpoint.
    """
    job = services.storage.jobs.resume(owner, job_id)
    services.executor.wake(job.device)
    services.watch.changed(job_id)
    return job_response(services, job, 202)


@router.delete("/{job_id}", status_code=204, responses=problems(JobNotFound, JobNotEnded, PreconditionFailed))
def delete_job(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    if_match: Annotated[str | None, Header(description="Delete the job only if it has this ETag.")] = None,
) -> Response:
    """Delete a job that has ended, with its history, log and checkpoints."""
    job = services.storage.jobs.get(owner, job_id)
    if if_match is not None and not requests.matches(_etag(job), if_match):
        raise PreconditionFailed(f"The job's ETag is {_etag(job)}.")
    version = job.version if if_match not in (None, "*") else None
    services.storage.artifacts.discard(services.storage.jobs.delete(owner, job_id, version))
    return Response(status_code=204)


def _etag(job: Job) -> str:
    return f'"{job.version}"'


def job_response(
    services: Services, job: Job, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with a job and its ETag."""
    return json_response(job_document(services, job), status, {"ETag": _etag(job), **(headers or {})})
