"""Jobs: submit, list, read, pause, resume, cancel, delete."""

import time
from collections.abc import Callable
from typing import Annotated

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BeforeValidator

from service import retry_after
from service.api.http import lists, requests
from service.api.http.conditions import Version
from service.api.http.headers import JOB_LINKS, headers
from service.api.http.negotiation import CSV, AcceptedMediaType
from service.api.http.responses import TEXT, json_body, json_response, problems
from service.api.http.route import DocumentedRoute
from service.api.schemas import jobs as schemas
from service.api.schemas.job_document import job_document, job_documents
from service.api.state import Owner, RootPath, Services, ServicesDependency
from service.errors import (
    ContentTooLarge,
    DatasetNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    JobNotEnded,
    JobNotFound,
    JobNotPaused,
    JobNotRunning,
    JobNotWaiting,
    LimitExceeded,
    NotJson,
    ParameterSetNotFound,
    PreconditionFailed,
    QueueFull,
    StorageFull,
    Unavailable,
    UnsupportedMediaType,
)
from service.helper.messages import CheckJob, EarlierJob, PlanJob
from service.processes.channel import BodyInFile
from service.specs.base import Name
from service.specs.job import JobEdit, JobRequest, JobStatus
from service.storage.datasets import NewDataset
from service.storage.job_record import Job
from service.storage.planned_job import PlannedJob

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=DocumentedRoute)

log = structlog.get_logger()

_SUBMISSION_HEADERS = ("ETag", "Location", "Retry-After", "Preference-Applied", "Idempotency-Replayed")
_LIST = "jobs"
_ACTION_HEADERS = ("ETag", "Retry-After")
# Fields of a job that are documents of their own.
_NOT_IN_CSV = {"data", "architecture", "training", "warnings", "links"}
IfMatch = Annotated[str | None, Header(description="Change the job only if it has this ETag.")]


class SubmitQuery(requests.Query):
    """Options of a submission."""

    validate_only: bool = False
    """Only check the request: return the preflight report and create no job."""


class ListQuery(lists.ListQuery):
    """Filters and page of a list."""

    status: Annotated[list[JobStatus], BeforeValidator(lists.comma_separated)] = []
    """Only list jobs with this status; several are comma-separated or repeated."""
    name: Name | None = None
    """Only list jobs with this name."""


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
    root_path: RootPath,
    query: Annotated[SubmitQuery, Query()],
    idempotency_key: requests.IdempotencyKey = None,
    prefer: Annotated[
        str | None, Header(description="`wait=30` waits 30 s for the end of the job; 60 at most.")
    ] = None,
) -> Response:
    """Submit a training job.

    All errors in the request are reported together, before a job is created. With `Prefer: wait=…` the
    response is sent when the job has ended (200) or when the wait expires (202).
    """
    requests.check_json(request)
    wait_seconds = requests.preferred_wait_seconds(request)
    if not query.validate_only:
        await run_in_threadpool(services.storage.room.check, requests.declared_bytes(request))
    async with services.bodies.read(request) as body:
        started = time.monotonic()
        if query.validate_only:
            _, report = await services.helpers.call(CheckJob(owner), body)
            return json_response(report)
        job, created = await _submit(services, owner, body, requests.idempotency_key(idempotency_key))
    headers = {"Location": f"{root_path}/v1/jobs/{job.id}"}
    if not created:
        headers["Idempotency-Replayed"] = "true"
    if wait_seconds is not None:
        headers["Preference-Applied"] = f"wait={wait_seconds:g}"
        remaining = wait_seconds - (time.monotonic() - started)
        job = await _wait(services, owner, job.id, remaining, lambda job: job.status.ended)
    status = 200 if job.status.ended else 202
    return await run_in_threadpool(job_response, services, job, root_path, status, headers)


async def _submit(
    services: Services, owner: str, body: bytes | BodyInFile, key: str | None
) -> tuple[Job, bool]:
    """Check the request and queue the job; a repeated key returns the earlier job."""
    try:
        return await _check_and_queue(services, owner, body, key)
    except (DatasetNotFound, JobNotFound, ParameterSetNotFound):
        # The dataset, the job to continue from or the parameter set was deleted between the check and the
        # commit. A second check reports this or, if the data was sent with the request, writes it again.
        return await _check_and_queue(services, owner, body, key)


async def _check_and_queue(
    services: Services, owner: str, body: bytes | BodyInFile, key: str | None
) -> tuple[Job, bool]:
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


async def _wait(
    services: Services, owner: str, job_id: str, seconds: float, condition: Callable[[Job], bool]
) -> Job:
    """Wait until a job meets a condition or the time expires; return its record."""
    deadline = time.monotonic() + seconds
    with services.watch.watching(job_id) as changes:
        while True:
            changes.clear()
            job = await run_in_threadpool(services.storage.jobs.get, owner, job_id)
            remaining = deadline - time.monotonic()
            if condition(job) or remaining <= 0 or services.watch.closed:
                return job
            await services.watch.wait(changes, remaining)


@router.get(
    "",
    response_model=schemas.JobPage,
    responses={200: {"content": {CSV: TEXT}, **headers("Link")}, **problems(InvalidRequest)},
)
def list_jobs(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    media_type: AcceptedMediaType,
    query: Annotated[ListQuery, Query()],
) -> Response:
    """List jobs, newest first.

    In CSV, a job has no `data`, `architecture`, `training`, `warnings` and `links`.
    """
    jobs = services.storage.jobs.list(
        owner, query.status, query.name, query.page_size + 1, query.cursor(_LIST), query.created
    )
    page = lists.Page(jobs, _LIST, query, request)
    documents = job_documents(services, page.items, root_path)
    if media_type == CSV:
        return page.csv_response([orjson.loads(document) for document in documents], _NOT_IN_CSV)
    return page.json_response([orjson.Fragment(document) for document in documents])


@router.get(
    "/{job_id}",
    response_model=schemas.Job,
    responses={
        200: headers("ETag", "Retry-After", "Preference-Applied"),
        304: {"description": "The job still has the version given in If-None-Match.", **headers("ETag")},
        **problems(JobNotFound, PreconditionFailed),
    },
)
async def get_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    if_none_match: Annotated[str | None, Header(description="Return 304 if the ETag matches.")] = None,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=30` waits 30 s for the end of the job, with `If-None-Match` for a change; 60 "
            "at most."
        ),
    ] = None,
) -> Response:
    """Get a job.

    Its ETag is the version of its record; poll with `If-None-Match`.
    """
    seconds, headers = requests.preferred_wait_seconds(request), {}
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds:g}"

    def respond(job: Job) -> Response:
        if _version(job).is_known(request):
            return Response(status_code=304, headers={"ETag": _version(job).etag, **_retry(job), **headers})
        return job_response(services, job, root_path, headers=headers)

    def read() -> Job:
        job = services.storage.jobs.get(owner, job_id)
        _version(job).check_read(request)
        return job

    if seconds is None:  # polls are frequent: one thread reads and answers
        return await run_in_threadpool(lambda: respond(read()))

    def is_awaited(job: Job) -> bool:
        known = _version(job).is_known(request)
        return job.status.ended if known is None else not known

    await run_in_threadpool(read)
    job = await _wait(services, owner, job_id, seconds, is_awaited)
    return await run_in_threadpool(respond, job)


@router.patch(
    "/{job_id}",
    response_model=schemas.Job,
    openapi_extra=json_body(JobEdit, requests.MERGE_PATCH),
    responses={
        200: headers("ETag", "Retry-After"),
        **problems(
            NotJson,
            ContentTooLarge,
            UnsupportedMediaType,
            InvalidRequest,
            JobNotFound,
            JobNotWaiting,
            PreconditionFailed,
        ),
    },
)
async def edit_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    if_match: IfMatch = None,
) -> Response:
    """Change the name or the priority of a job.

    The body is a JSON Merge Patch (RFC 7396): fields that it leaves out stay as they are. The priority can be
    changed while the job is queued or paused.
    """
    requests.check_json(request)
    edit = requests.parse(JobEdit, await services.bodies.read_small(request))

    def write() -> Response:
        version = _required_version(services, owner, job_id, request)
        job = services.storage.jobs.edit(owner, job_id, edit, version)
        services.watch.changed(job_id)
        return job_response(services, job, root_path)

    return await run_in_threadpool(write)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_model=schemas.Job,
    responses={
        200: {"model": schemas.Job, "description": "The job had already ended.", **headers("ETag")},
        202: {
            "description": "The job is cancelled, or its worker will cancel it shortly.",
            **headers(*_ACTION_HEADERS),
        },
        **problems(JobNotFound, PreconditionFailed),
    },
)
def cancel_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    if_match: IfMatch = None,
) -> Response:
    """Cancel a job.

    A waiting job is cancelled immediately, a running one shortly after. A job that has already ended stays
    unchanged (200).
    """
    version = _required_version(services, owner, job_id, request)
    had_ended = services.storage.jobs.get(owner, job_id).status.ended
    job = services.storage.jobs.cancel(owner, job_id, version)
    if not job.status.ended:
        services.executor.cancel(job_id)
    services.watch.changed(job_id)
    return job_response(services, job, root_path, 200 if had_ended else 202)


@router.post(
    "/{job_id}/pause",
    status_code=202,
    response_model=schemas.Job,
    responses={202: headers(*_ACTION_HEADERS), **problems(JobNotFound, JobNotRunning, PreconditionFailed)},
)
def pause_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    if_match: IfMatch = None,
) -> Response:
    """Pause a job.

    A queued job is paused immediately, a running one after its current step, with a checkpoint.
    """
    job = services.storage.jobs.pause(owner, job_id, _required_version(services, owner, job_id, request))
    services.watch.changed(job_id)
    return job_response(services, job, root_path, 202)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    response_model=schemas.Job,
    responses={202: headers(*_ACTION_HEADERS), **problems(JobNotFound, JobNotPaused, PreconditionFailed)},
)
def resume_job(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    if_match: IfMatch = None,
) -> Response:
    """Resume a paused job.

    The job returns to its former position in the queue and continues exactly from its checkpoint.
    """
    job = services.storage.jobs.resume(owner, job_id, _required_version(services, owner, job_id, request))
    services.executor.wake(job.device)
    services.watch.changed(job_id)
    return job_response(services, job, root_path, 202)


@router.delete("/{job_id}", status_code=204, responses=problems(JobNotFound, JobNotEnded, PreconditionFailed))
def delete_job(
    request: Request, services: ServicesDependency, owner: Owner, job_id: str, if_match: IfMatch = None
) -> Response:
    """Delete a job that has ended, with its history, log and checkpoints."""
    version = _required_version(services, owner, job_id, request)
    services.storage.artifacts.discard(services.storage.jobs.delete(owner, job_id, version))
    return Response(status_code=204)


def _required_version(services: Services, owner: str, job_id: str, request: Request) -> int | None:
    """Check the conditions of a write; return the version that the job must still have, None for any."""
    job = services.storage.jobs.get(owner, job_id)
    return job.version if _version(job).check_write(request) else None


def _version(job: Job) -> Version:
    return Version(str(job.version), job.changed_at)


def _retry(job: Job) -> dict[str, str]:
    return {} if job.status.ended else {"Retry-After": str(retry_after.JOB_ACCEPTED_SECONDS)}


def job_response(
    services: Services, job: Job, root_path: str, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with a job and its ETag, and when to ask again unless it has ended."""
    headers = {"ETag": _version(job).etag, **_retry(job), **(headers or {})}
    return json_response(job_document(services, job, root_path), status, headers)
