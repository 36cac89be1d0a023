"""Server-sent events: what happens to one job, or to all of them.

An event's id says what its listener has seen: of one job `<version>.<epoch>`, of all jobs the time of the
change in microseconds. So nothing is stored to replay what a listener missed, and the job's record and its
history are read again from there. Listeners that have seen the same share one read.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Depends, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.job_document import job_document, progress_document
from service.api.responses import embedded, problems
from service.api.state import Owner, Services, ServicesDependency
from service.errors import JobNotFound, Unavailable
from service.jobs.watch import LATE
from service.storage.job_record import Job
from service.storage.timestamp import EPOCH, MICROSECOND
from service.training.history import HistoryChunk, HistoryQuery, history_document

router = APIRouter(prefix="/v1", tags=["events"])

# A `metrics` event has at most so many epochs, evenly spaced; the history has all.
MAX_EPOCHS = 500
# So many changed jobs are read at once.
MAX_JOBS = 500
# Whatever is told, a listener looks after this time.
LOOK_SECONDS = 30.0

LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was seen: what came after is sent.")
]


@dataclass(frozen=True)
class Seen:
    """What a listener to one job has seen: the record's version, and the history up to an epoch."""

    version: int
    epoch: int

    @classmethod
    def of_id(cls, text: str | None) -> Self | None:
        """What an event's id stands for; None for what is no id of ours."""
        match = re.fullmatch(r"(\d{1,18})\.(\d{1,18})", text or "")
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.version}.{self.epoch}"


@dataclass(frozen=True)
class News:
    """What has happened to a job since a listener has looked.

    Attributes:
        events: to be sent, the status apart.
        status: to be sent where it is not what was sent last.
        seen: what the listener has seen then.
        ended: whether nothing more will come.
    """

    events: list[ServerSentEvent]
    status: ServerSentEvent | None
    seen: Seen
    ended: bool


async def _existing_job(services: ServicesDependency, owner: Owner, job_id: str) -> None:
    """Raise JobNotFound before the answer begins."""
    await run_in_threadpool(services.storage.jobs.get, owner, job_id)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(_existing_job)],
    responses=problems(JobNotFound),
)
async def follow_job(
    services: ServicesDependency, owner: Owner, job_id: str, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Follow one job: `status`, `progress` and `metrics` as they change, from now on, and `end` at its end.

    `metrics` has the epochs since the last one, as the history has them, thinned out to 500 at most. With
    `Last-Event-ID` it begins with those that were missed. A comment comes every 15 seconds when nothing
    else does.
    """
    seen = Seen.of_id(last_event_id)
    status = None
    with services.watch.watching(job_id) as changes:
        while not services.watch.closed:
            changes.clear()
            try:
                read = partial(_news, services, owner, job_id, seen)
                news = await services.reads.get((owner, job_id, seen), read)
            except JobNotFound:  # it has ended, and was deleted
                return
            except Unavailable:  # the database is away: the listener waits with us
                await services.watch.wait(changes, LOOK_SECONDS)
                continue
            if news.status is not None and news.status.raw_data != status:
                status = news.status.raw_data
                yield news.status
            for event in news.events:
                yield event
            seen = news.seen
            if news.ended:
                return
            await services.watch.wait(changes, LOOK_SECONDS)


def _news(services: Services, owner: str, job_id: str, seen: Seen | None) -> News:
    """What has happened since; a listener that has seen nothing begins with the present epoch."""
    job = services.storage.jobs.get(owner, job_id)
    seen = seen or Seen(0, max(0, job.epoch - 1))
    if job.version == seen.version and not job.status.ended:
        return News([], None, seen, ended=False)
    events = []
    rows = services.storage.history.rows(job_id, from_epoch=seen.epoch + 1)
    if rows:
        history = HistoryChunk.join([HistoryChunk.unpack(row.first_epoch, row.payload) for row in rows])
        query = HistoryQuery(from_epoch=seen.epoch + 1, max_points=MAX_EPOCHS)
        seen = Seen(seen.version, history.last_epoch)
        events.append(_event("metrics", history_document(history, query), str(seen)))
    seen = Seen(job.version, seen.epoch)
    events.append(_event("progress", _progress(job), str(seen)))
    if job.status.ended:
        events.append(_event("end", job_document(services, job), str(seen)))
    return News(events, _event("status", _status(job)), seen, job.status.ended)


@router.get("/events", response_class=EventSourceResponse)
async def follow_all_jobs(
    services: ServicesDependency, owner: Owner, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Follow all jobs: `status`, `progress` and `end` of each, from now on or after `Last-Event-ID`.

    Each event's data has the job's `id`. A change may be told twice, after a reconnection.
    """
    listener = _Listener(_time_of_id(last_event_id))
    with services.watch.watching(None) as changes:
        while not services.watch.closed:
            changes.clear()
            try:
                if listener.since is None:
                    listener.since = (await run_in_threadpool(services.storage.changes.since, None)).until
                read = partial(_changed, services, owner, listener.since)
                changed = await services.reads.get((owner, listener.since), read)
            except Unavailable:
                changed = []
            for event in listener.unseen(changed):
                yield event
            if len(changed) < MAX_JOBS:
                await services.watch.wait(changes, LOOK_SECONDS)


@dataclass
class _Listener:
    """What a listener to all jobs has seen.

    Attributes:
        since: changes before are not read again.
        versions: of the jobs that changed since.
        statuses: what was last sent of jobs that have not ended.
    """

    since: datetime | None
    versions: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, str | None] = field(default_factory=dict)

    def unseen(self, changed: Sequence[tuple[Job, list[ServerSentEvent]]]) -> Iterator[ServerSentEvent]:
        """Of the events of changed jobs, the status first, those that it has not seen."""
        for job, (status, *others) in changed:
            if self.versions.get(job.id) == job.version:
                continue
            if self.statuses.get(job.id) != status.raw_data:
                yield status
            yield from others
            self.statuses[job.id] = status.raw_data
            if job.status.ended:
                del self.statuses[job.id]
        if changed:
            self.versions = {job.id: job.version for job, _ in changed}
            late = timedelta(0) if len(changed) == MAX_JOBS else LATE
            self.since = max(self.since or EPOCH, changed[-1][0].changed_at - late)


def _changed(services: Services, owner: str, since: datetime) -> list[tuple[Job, list[ServerSentEvent]]]:
    """The jobs that have changed, each with its events, the status first."""
    return [(job, _events_of(services, job)) for job in services.storage.changes.jobs(owner, since, MAX_JOBS)]


def _events_of(services: Services, job: Job) -> list[ServerSentEvent]:
    id = str((job.changed_at - EPOCH) // MICROSECOND)
    events = [_event("status", _status(job), id), _event("progress", _progress(job), id)]
    if job.status.ended:
        events.append(_event("end", job_document(services, job), id))
    return events


def _time_of_id(text: str | None) -> datetime | None:
    """The time that an event's id stands for; None for what is no id of ours."""
    return EPOCH + int(text) * MICROSECOND if text and re.fullmatch(r"\d{1,17}", text) else None


def _event(kind: str, data: Any, id: str | None = None) -> ServerSentEvent:
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    return ServerSentEvent(event=kind, raw_data=body.decode(), id=id)


def _status(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "stop_reason": job.stop_reason,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "pause_requested": job.pause_requested,
    }


def _progress(job: Job) -> dict[str, Any]:
    return {"id": job.id, **progress_document(job), "latest": embedded(job.latest)}
