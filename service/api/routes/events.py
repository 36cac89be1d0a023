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

from service.api.http.responses import embedded, problems
from service.api.http.route import DocumentedRoute
from service.api.schemas.job_document import job_document, progress_document
from service.api.state import Owner, Services, ServicesDependency
from service.errors import JobNotFound, Unavailable
from service.events.watch import LATE, Watch
from service.history import HistoryChunk, HistoryQuery, history_document
from service.storage.changes import ChangeCursor
from service.storage.job_record import Job
from service.storage.timestamp import EPOCH, MICROSECOND

router = APIRouter(prefix="/v1", tags=["events"], route_class=DocumentedRoute)

# Maximum number of epochs in a `metrics` event, evenly spaced.
MAX_EPOCHS = 500
# Maximum number of changed jobs in a read, which bounds the memory of a slow listener.
MAX_JOBS = 100
# Interval at which a listener gets a comment, which keeps the connection alive, and reads again.
QUIET_SECONDS = 15.0
# Keeps proxies from buffering events.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Response of server-sent events.

    FastAPI's EventSourceResponse logs an error for each client that disconnects during a send, and encodes
    shared events for each listener again.
    """

    media_type = "text/event-stream"


STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {EventStream.media_type: {}}, "description": "Events as they happen."}
}

LastEventId = Annotated[
    str | None, Header(description="Id of the last event received; the stream continues after it.")
]


@dataclass(frozen=True)
class Seen:
    """Position of a listener of one job: version of the record and last epoch of the history."""

    version: int
    epoch: int

    @classmethod
    def of_id(cls, text: str | None) -> Self | None:
        """Parse the id of an event; None if it is malformed."""
        match = re.fullmatch(r"(\d{1,18})\.(\d{1,18})", text or "")
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.version}.{self.epoch}"


@dataclass(frozen=True)
class News:
    """Events of a job that follow a listener's position.

    Attributes:
        status: `status` event, sent unless it equals the last one sent.
        events: Further events.
        seen: Position after these events.
        ended: Whether no events will follow.
    """

    status: bytes | None
    events: list[bytes]
    seen: Seen
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
    services: ServicesDependency, owner: Owner, job_id: str, last_event_id: LastEventId = None
) -> Response:
    """Follow a job with server-sent events.

    `status`, `progress` and `metrics` are sent when they change, `end` when the job has ended. `metrics` has
    the history since the previous event, at most 500 epochs, evenly spaced. With `Last-Event-ID`, the stream
    continues after that event; after `end` it answers 204, so that an `EventSource` does not reconnect. A
    comment is sent every 15 seconds.
    """
    job = await run_in_threadpool(
        services.storage.jobs.get, owner, job_id
    )  # answers 404 before the stream starts
    seen = Seen.of_id(last_event_id)
    if job.status.ended and seen is not None and seen.version == job.version:
        return Response(status_code=204)
    listener = _JobListener(services, owner, job_id, seen)
    return EventStream(_stream(services.watch, job_id, listener), headers=HEADERS)


class _Listener(Protocol):
    """Source of the events for one connection.

    Attributes:
        ended: Whether no events will follow.
    """

    ended: bool

    def look(self) -> AsyncIterator[bytes]:
        """Yield the events since the last call.

        Raises:
            Unavailable: If the database is unavailable.
        """


async def _stream(watch: Watch, job_id: str | None, listener: _Listener) -> AsyncIterator[bytes]:
    """Yield a listener's events: at the start, at each change and at each beat, with a comment per beat."""
    looked, beat = False, _next_beat(job_id)
    with watch.watching(job_id) as changes:
        while not watch.closed:
            if changes.is_set() or not looked:
                changes.clear()
                try:
                    async for event in listener.look():
                        yield event
                    looked = True
                except Unavailable:  # retried at the next change or beat
                    looked = False
            if listener.ended:
                return
            await watch.wait(changes, beat - time.monotonic())
            if time.monotonic() >= beat:
                looked, beat = False, _next_beat(job_id)
                yield KEEPALIVE_COMMENT


def _next_beat(job_id: str | None) -> float:
    """Return the time of the next comment, on the clock `time.monotonic`.

    Listeners of the same job have the same times and so share a read; different jobs have different times.
    """
    now, phase = time.monotonic(), hash(job_id) % 1000 / 1000 * QUIET_SECONDS
    return now + QUIET_SECONDS - (now - phase) % QUIET_SECONDS


@dataclass
class _JobListener:
    """Listener of one job.

    Attributes:
        seen: Position; None at the start.
        status: Last `status` event sent.
    """

    services: Services
    owner: str
    job_id: str
    seen: Seen | None
    status: bytes | None = None
    ended: bool = False

    async def look(self) -> AsyncIterator[bytes]:
        read = partial(_news, self.services, self.owner, self.job_id, self.seen)
        try:
            news = await self.services.reads.get((self.owner, self.job_id, self.seen), read)
        except JobNotFound:  # the job was deleted
            self.ended = True
            return
        if news.status is not None and news.status != self.status:
            self.status = news.status
            yield news.status
        for event in news.events:
            yield event
        self.seen, self.ended = news.seen, news.ended


def _news(services: Services, owner: str, job_id: str, seen: Seen | None) -> News:
    """Read the events after a position; without one, start with the current epoch."""
    job = services.storage.jobs.get(owner, job_id)
    seen = seen or Seen(0, max(0, job.epoch - 1))
    if job.version == seen.version and not job.status.ended:
        return News(None, [], seen, ended=False)
    events = []
    rows = services.storage.history.rows(job_id, from_epoch=seen.epoch + 1)
    if rows:
        history = HistoryChunk.join([HistoryChunk.unpack(row.first_epoch, row.payload) for row in rows])
        query = HistoryQuery(from_epoch=seen.epoch + 1, max_points=MAX_EPOCHS)
        seen = Seen(seen.version, history.last_epoch)
        events.append(_event("metrics", history_document(history, query), str(seen)))
    # Only the `end` event carries the last version.
    before_the_end = Seen(job.version - job.status.ended, seen.epoch)
    events.append(_event("progress", _progress(job), str(before_the_end)))
    seen = Seen(job.version, seen.epoch)
    if job.status.ended:
        events.append(_event("end", job_document(services, job), str(seen)))
    return News(_event("status", _status(job)), events, seen, job.status.ended)


@router.get("/events", response_class=EventStream, responses=STREAM)
async def follow_all_jobs(
    services: ServicesDependency, owner: Owner, last_event_id: LastEventId = None
) -> Response:
    """Follow all jobs with server-sent events.

    `status`, `progress` and `end` of each job are sent, from now on or after `Last-Event-ID`. The data of
    each event has the job's `id`. After a reconnection, a change may be sent twice.
    """
    since = _time_of_id(last_event_id)
    if since is None:
        since = (await run_in_threadpool(services.storage.changes.since, None)).until
        since = since.replace(microsecond=0)  # listeners that start in the same second share reads
    listener = _AllListener(services, owner, since)
    return EventStream(_stream(services.watch, None, listener), headers=HEADERS)


@dataclass(frozen=True)
class _Changed:
    """Page of changed jobs, each with its events, `status` first.

    Attributes:
        read_at: Database time of the read, or an earlier time.
    """

    read_at: datetime
    jobs: Sequence[tuple[Job, list[bytes]]]


async def _pages(services: Services, owner: str, since: datetime) -> AsyncIterator[_Changed]:
    """Yield the pages of jobs that have changed since a time."""
    cursor = ChangeCursor(since, 0)
    while True:
        read = partial(_changed, services, owner, cursor)
        page = await services.reads.get((owner, cursor), read)
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
        seen: Time and version of the last change sent, by job, for changes after `since`.
        statuses: Last `status` event sent, by job, for jobs that have not ended.
        first: Time at which the first of the current pages was read.
        last: Time of the last change in the current pages.
    """

    services: Services
    owner: str
    since: datetime
    seen: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    statuses: dict[str, bytes] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    ended: bool = False

    async def look(self) -> AsyncIterator[bytes]:
        async for page in _pages(self.services, self.owner, self.since):
            for event in self.unseen(page):
                yield event
        self.look_on()

    def unseen(self, page: _Changed) -> Iterator[bytes]:
        """Yield the events of a page that were not sent before."""
        self.first = self.first or page.read_at
        for job, (status, *others) in page.jobs:
            self.last = job.changed_at
            if self.seen.get(job.id) == (job.changed_at, job.version):
                continue
            if self.statuses.get(job.id) != status:
                yield status
            yield from others
            self.statuses[job.id] = status
            if job.status.ended:
                del self.statuses[job.id]
            if job.changed_at >= self.first - LATE:  # earlier changes are not read again
                self.seen[job.id] = job.changed_at, job.version

    def look_on(self) -> None:
        """Advance `since`; a change committed after the first read may be dated up to `LATE` before it."""
        if self.first is not None and self.last is not None:
            # Not simply `first - LATE`: listeners that have sent the same events share their next read.
            self.since = max(self.since, min(self.first, self.last) - LATE)
            self.seen = {id: seen for id, seen in self.seen.items() if seen[0] >= self.since}
        self.first = self.last = None


def _changed(services: Services, owner: str, cursor: ChangeCursor) -> _Changed:
    page = services.storage.changes.page(owner, cursor, MAX_JOBS)
    return _Changed(page.read_at, [(job, _events_of(services, job)) for job in page.jobs])


def _events_of(services: Services, job: Job) -> list[bytes]:
    id = str((job.changed_at - EPOCH) // MICROSECOND)
    events = [_event("status", _status(job)), _event("progress", _progress(job), id)]
    if job.status.ended:
        events.append(_event("end", job_document(services, job), id))
    return events


def _time_of_id(text: str | None) -> datetime | None:
    """Return the time from which to read after an event with this id; None if it is malformed."""
    if not text or not re.fullmatch(r"\d{1,17}", text):
        return None
    # Changes committed late are dated before those already sent.
    return max(EPOCH, EPOCH + int(text) * MICROSECOND - LATE)


def _event(kind: str, data: Any, id: str | None = None) -> bytes:
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    return format_sse_event(event=kind, data_str=body.decode(), id=id)


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
