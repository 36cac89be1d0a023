"""Server-sent events of one job or of all jobs.

The id of an event encodes the position of its listener: `<version>.<epoch>` for one job, the time of the
change in microseconds for all jobs. So events need not be stored: after a reconnection, the record and the
history are read from that position. Listeners at the same position share one read.
"""

import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Protocol, Self

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from service.api.http.responses import TEXT, embedded, problems
from service.api.http.route import DocumentedRoute
from service.api.schemas.job_document import job_document, progress_document
from service.api.state import Owner, RootPath, Services, ServicesDependency
from service.errors import JobNotFound, Unavailable
from service.events.watch import MAX_COMMIT_DELAY, Watch
from service.history import HistoryChunk, HistoryQuery, history_document
from service.storage.changes import ChangeCursor
from service.storage.job_record import Job
from service.storage.timestamp import EPOCH, MICROSECOND

router = APIRouter(prefix="/v1", tags=["events"], route_class=DocumentedRoute)

# Maximum number of epochs in a `metrics` event, evenly spaced.
MAX_EPOCHS = 500
# Maximum number of changed jobs in a read, which bounds the memory of a slow listener.
MAX_JOBS = 100
# Interval at which a listener sends a comment, which keeps the connection alive, and reads again.
KEEPALIVE_SECONDS = 15.0
# Keeps proxies from buffering events.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Response of server-sent events.

    FastAPI's EventSourceResponse logs an error for each client that disconnects during a send, and encodes
    shared events for each listener again.
    """

    media_type = "text/event-stream"


STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {EventStream.media_type: TEXT}, "description": "Events as they happen."}
}

LastEventId = Annotated[
    str | None, Header(description="Id of the last event received; the stream continues after it.")
]


@dataclass(frozen=True)
class JobPosition:
    """Position in the events of a job.

    Attributes:
        version: Version of the job's record.
        epoch: Last epoch of the history.
    """

    version: int
    epoch: int

    @classmethod
    def of_id(cls, text: str | None) -> Self | None:
        """Parse the id of an event; return None if it is malformed."""
        match = re.fullmatch(r"(\d{1,18})\.(\d{1,18})", text or "")
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.version}.{self.epoch}"


@dataclass(frozen=True)
class JobEvents:
    """Events of a job that follow a position.

    Attributes:
        status: `status` event, sent unless it equals the last one sent.
        events: Further events.
        position: Position after these events.
        ended: Whether no events will follow.
    """

    status: bytes | None
    events: list[bytes]
    position: JobPosition
    ended: bool


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventStream,
    responses={
        **STREAM,
        204: {"description": "The job has ended, and the `end` event was received."},
        **problems(JobNotFound),
    },
)
async def follow_job(
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    job_id: str,
    last_event_id: LastEventId = None,
) -> Response:
    """Follow a job with server-sent events.

    `status`, `progress` and `metrics` are sent when they change, `end` when the job has ended. `metrics` has
    the history since the previous event, at most 500 epochs, evenly spaced. With `Last-Event-ID`, the stream
    continues after that event; after `end` it answers 204, so that an `EventSource` does not reconnect. A
    comment is sent every 15 seconds.
    """
    # Before the stream starts, so that an unknown job is answered with 404.
    job = await run_in_threadpool(services.storage.jobs.get, owner, job_id)
    position = JobPosition.of_id(last_event_id)
    if job.status.ended and position is not None and position.version == job.version:
        return Response(status_code=204)
    listener = _JobListener(services, owner, root_path, job_id, position)
    return EventStream(_stream(services.watch, job_id, listener), headers=HEADERS)


class _Listener(Protocol):
    """Source of the events for one connection.

    Attributes:
        ended: Whether no events will follow.
    """

    ended: bool

    def read(self) -> AsyncIterator[bytes]:
        """Yield the events since the last call.

        Raises:
            Unavailable: If the database is unavailable.
        """


async def _stream(watch: Watch, job_id: str | None, listener: _Listener) -> AsyncIterator[bytes]:
    """Yield a listener's events at the start, at each change and at each beat, and a comment at each beat."""
    is_current, beat = False, _next_beat(job_id)
    with watch.watching(job_id) as changes:
        while not watch.closed:
            if changes.is_set() or not is_current:
                changes.clear()  # before the read: a change during it is not lost
                try:
                    async for event in listener.read():
                        yield event
                    is_current = True
                except Unavailable:  # retried at the next change or beat
                    is_current = False
            if listener.ended:
                return
            await watch.wait(changes, beat - time.monotonic())
            if time.monotonic() >= beat:
                is_current, beat = False, _next_beat(job_id)
                yield KEEPALIVE_COMMENT


def _next_beat(job_id: str | None) -> float:
    """Return the time of the next comment, on the clock `time.monotonic`.

    Listeners of the same job have the same times and so share a read; different jobs have different times.
    """
    now, phase = time.monotonic(), hash(job_id) % 1000 / 1000 * KEEPALIVE_SECONDS
    return now + KEEPALIVE_SECONDS - (now - phase) % KEEPALIVE_SECONDS


@dataclass
class _JobListener:
    """Listener of one job.

    Attributes:
        position: Position after the last event; None at the start.
        status: Last `status` event sent.
    """

    services: Services
    owner: str
    root_path: str
    job_id: str
    position: JobPosition | None
    status: bytes | None = None
    ended: bool = False

    async def read(self) -> AsyncIterator[bytes]:
        key = (self.owner, self.root_path, self.job_id, self.position)
        try:
            new = await self.services.reads.get(key, partial(_read_events, self.services, *key))
        except JobNotFound:  # the job was deleted
            self.ended = True
            return
        if new.status is not None and new.status != self.status:
            self.status = new.status
            yield new.status
        for event in new.events:
            yield event
        self.position, self.ended = new.position, new.ended


def _read_events(
    services: Services, owner: str, root_path: str, job_id: str, position: JobPosition | None
) -> JobEvents:
    """Read the events after a position; None starts with the current epoch."""
    job = services.storage.jobs.get(owner, job_id)
    position = position or JobPosition(0, max(0, job.epoch - 1))
    if job.version == position.version and not job.status.ended:
        return JobEvents(None, [], position, ended=False)
    events = []
    rows = services.storage.history.rows(job_id, from_epoch=position.epoch + 1)
    if rows:
        history = HistoryChunk.join([HistoryChunk.unpack(row.first_epoch, row.payload) for row in rows])
        query = HistoryQuery(from_epoch=position.epoch + 1, max_points=MAX_EPOCHS)
        position = JobPosition(position.version, history.last_epoch)
        events.append(_event("metrics", history_document(history, query), str(position)))
    # Only the `end` event carries the last version.
    before_the_end = JobPosition(job.version - job.status.ended, position.epoch)
    events.append(_event("progress", _progress(job), str(before_the_end)))
    position = JobPosition(job.version, position.epoch)
    if job.status.ended:
        events.append(_event("end", job_document(services, job, root_path), str(position)))
    return JobEvents(_event("status", _status(job)), events, position, job.status.ended)


@router.get("/events", response_class=EventStream, responses=STREAM)
async def follow_all_jobs(
    services: ServicesDependency, owner: Owner, root_path: RootPath, last_event_id: LastEventId = None
) -> Response:
    """Follow all jobs with server-sent events.

    `status`, `progress` and `end` of each job are sent, from now on or after `Last-Event-ID`. The data of
    each event has the job's `id`. After a reconnection, a change may be sent twice.
    """
    since = _time_of_id(last_event_id)
    if since is None:
        since = (await run_in_threadpool(services.storage.changes.since, None)).until
        since = since.replace(microsecond=0)  # listeners that start in the same second share reads
    listener = _AllListener(services, owner, root_path, since)
    return EventStream(_stream(services.watch, None, listener), headers=HEADERS)


@dataclass(frozen=True)
class _ChangedJobs:
    """Page of changed jobs, each with its events, `status` first.

    Attributes:
        read_at: Database time of the read, or an earlier time.
    """

    read_at: datetime
    jobs: Sequence[tuple[Job, list[bytes]]]


async def _pages(
    services: Services, owner: str, root_path: str, since: datetime
) -> AsyncIterator[_ChangedJobs]:
    """Yield the pages of jobs that have changed since a time."""
    cursor = ChangeCursor(since, 0)
    while True:
        key = (owner, root_path, cursor)
        page = await services.reads.get(key, partial(_read_page, services, *key))
        yield page
        if len(page.jobs) < MAX_JOBS:
            return
        last, _ = page.jobs[-1]
        cursor = ChangeCursor(last.changed_at, last.sequence)


@dataclass
class _AllListener:
    """Listener of all jobs.

    Attributes:
        since: Time from which on changes are read.
        sent: Time and version of the last change sent, by job, for changes after `since`.
        statuses: Last `status` event sent, by job, for jobs that have not ended.
        first: Time at which the first of the current pages was read.
        last: Time of the last change in the current pages.
    """

    services: Services
    owner: str
    root_path: str
    since: datetime
    sent: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    statuses: dict[str, bytes] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    ended: bool = False

    async def read(self) -> AsyncIterator[bytes]:
        async for page in _pages(self.services, self.owner, self.root_path, self.since):
            for event in self._new_events(page):
                yield event
        self._advance()

    def _new_events(self, page: _ChangedJobs) -> Iterator[bytes]:
        """Yield the events of a page that were not sent before."""
        self.first = self.first or page.read_at
        for job, (status, *others) in page.jobs:
            self.last = job.changed_at
            if self.sent.get(job.id) == (job.changed_at, job.version):
                continue
            if self.statuses.get(job.id) != status:
                yield status
            yield from others
            self.statuses[job.id] = status
            if job.status.ended:
                del self.statuses[job.id]
            if job.changed_at >= self.first - MAX_COMMIT_DELAY:  # earlier changes are not read again
                self.sent[job.id] = job.changed_at, job.version

    def _advance(self) -> None:
        """Move `since` forward, past the changes that can't be missed any more.

        A change that is committed after the first read may be dated up to `MAX_COMMIT_DELAY` before it.
        """
        if self.first is not None and self.last is not None:
            # Not simply `first`: listeners that have sent the same events must share their next read.
            self.since = max(self.since, min(self.first, self.last) - MAX_COMMIT_DELAY)
            self.sent = {id: sent for id, sent in self.sent.items() if sent[0] >= self.since}
        self.first = self.last = None


def _read_page(services: Services, owner: str, root_path: str, cursor: ChangeCursor) -> _ChangedJobs:
    page = services.storage.changes.page(owner, cursor, MAX_JOBS)
    return _ChangedJobs(page.read_at, [(job, _events_of(services, root_path, job)) for job in page.jobs])


def _events_of(services: Services, root_path: str, job: Job) -> list[bytes]:
    id = str((job.changed_at - EPOCH) // MICROSECOND)
    events = [_event("status", _status(job)), _event("progress", _progress(job), id)]
    if job.status.ended:
        events.append(_event("end", job_document(services, job, root_path), id))
    return events


def _time_of_id(text: str | None) -> datetime | None:
    """Return the time from which to read after the event with this id; None if the id is malformed."""
    if not text or not re.fullmatch(r"\d{1,17}", text):
        return None
    # A change that was committed late is dated before changes that were sent already.
    return max(EPOCH, EPOCH + int(text) * MICROSECOND - MAX_COMMIT_DELAY)


def _event(name: str, data: Any, id: str | None = None) -> bytes:
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    return format_sse_event(event=name, data_str=body.decode(), id=id)


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
