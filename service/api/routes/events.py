"""Server-sent events: what happens to one job, or to all of them.

An event's id says what its listener has seen: of one job `<version>.<epoch>`, of all jobs the time of the
change in microseconds. So nothing is stored to replay what a listener missed, and the job's record and its
history are read again from there. Listeners that have seen the same share one read.
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

# A `metrics` event has at most so many epochs, evenly spaced; the history has all.
MAX_EPOCHS = 500
# So many changed jobs are read at once: what is kept for a listener that is slow to take it.
MAX_JOBS = 100
# After so long a listener gets a comment, whatever else it got, and looks for itself: the line is open.
QUIET_SECONDS = 15.0
# An event is to arrive when it is sent: proxies must not hold it back.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """An answer of server-sent events.

    FastAPI's EventSourceResponse logs an error for each client that leaves while it is sent something, and
    encodes what all listeners get anew for each.
    """

    media_type = "text/event-stream"


STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {EventStream.media_type: {}}, "description": "Events as they happen."}
}

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
        status: to be sent where it is not what was sent last.
        events: to be sent after it.
        seen: what the listener has seen then.
        ended: whether nothing more will come.
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
        204: {"description": "The job has ended, and its end was seen."},
        **problems(JobNotFound),
    },
)
async def follow_job(
    services: ServicesDependency, owner: Owner, job_id: str, last_event_id: LastEventId = None
) -> Response:
    """Follow one job: `status`, `progress` and `metrics` as they change, from now on, and `end` at its end.

    `metrics` has the epochs since the last one, as the history has them, thinned out to 500 at most. With
    `Last-Event-ID` it begins with those that were missed; after `end` there is nothing to come, and 204 tells
    an `EventSource` to stay away. A comment comes every 15 seconds.
    """
    job = await run_in_threadpool(services.storage.jobs.get, owner, job_id)  # 404 while it can be said
    seen = Seen.of_id(last_event_id)
    if job.status.ended and seen is not None and seen.version == job.version:
        return Response(status_code=204)
    listener = _JobListener(services, owner, job_id, seen)
    return EventStream(_stream(services.watch, job_id, listener), headers=HEADERS)


class _Listener(Protocol):
    """Who follows something.

    Attributes:
        ended: whether nothing more will come.
    """

    ended: bool

    def look(self) -> AsyncIterator[bytes]:
        """What has happened since it has looked.

        Raises:
            Unavailable: the database is away.
        """


async def _stream(watch: Watch, job_id: str | None, listener: _Listener) -> AsyncIterator[bytes]:
    """What a listener sees: now, at each change of a job or of any, and at each beat; and the beats."""
    looked, beat = False, _next_beat(job_id)
    with watch.watching(job_id) as changes:
        while not watch.closed:
            if changes.is_set() or not looked:
                changes.clear()
                try:
                    async for event in listener.look():
                        yield event
                    looked = True
                except Unavailable:  # the listener waits with us
                    looked = False
            if listener.ended:
                return
            await watch.wait(changes, beat - time.monotonic())
            if time.monotonic() >= beat:
                looked, beat = False, _next_beat(job_id)
                yield KEEPALIVE_COMMENT


def _next_beat(job_id: str | None) -> float:
    """When who follows a job is told something in any case, on the clock `time.monotonic`.

    All who follow the same job look at the same moments, and share a read; the moments of others are others.
    """
    now, phase = time.monotonic(), hash(job_id) % 1000 / 1000 * QUIET_SECONDS
    return now + QUIET_SECONDS - (now - phase) % QUIET_SECONDS


@dataclass
class _JobListener:
    """Who follows one job.

    Attributes:
        seen: what it has seen; None: nothing.
        status: what was last sent of it.
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
        except JobNotFound:  # it has ended, and was deleted
            self.ended = True
            return
        if news.status is not None and news.status != self.status:
            self.status = news.status
            yield news.status
        for event in news.events:
            yield event
        self.seen, self.ended = news.seen, news.ended


def _news(services: Services, owner: str, job_id: str, seen: Seen | None) -> News:
    """What has happened since; a listener that has seen nothing begins with the present epoch."""
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
    # Only who has seen the end has seen the last version.
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
    """Follow all jobs: `status`, `progress` and `end` of each, from now on or after `Last-Event-ID`.

    Each event's data has the job's `id`. A change may be told twice, after a reconnection.
    """
    since = _time_of_id(last_event_id)
    if since is None:
        since = (await run_in_threadpool(services.storage.changes.since, None)).until
        since = since.replace(microsecond=0)  # those who come in the same second share their reads
    listener = _AllListener(services, owner, since)
    return EventStream(_stream(services.watch, None, listener), headers=HEADERS)


@dataclass(frozen=True)
class _Changed:
    """Jobs that have changed, each with its events, the status first.

    Attributes:
        read_at: the database's time when they were read, or something earlier.
    """

    read_at: datetime
    jobs: Sequence[tuple[Job, list[bytes]]]


async def _pages(services: Services, owner: str, since: datetime) -> AsyncIterator[_Changed]:
    """All that has changed since a time, page by page."""
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
    """Who follows all jobs.

    Attributes:
        since: changes before are not read again.
        seen: of the jobs that changed since, when, and to which version.
        statuses: what was last sent of jobs that have not ended.
        first, last: of the pages at hand, when the first was read, and the last change in them.
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
        """Of the events of changed jobs, those that it has not seen."""
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
            if job.changed_at >= self.first - LATE:  # the others are not read again
                self.seen[job.id] = job.changed_at, job.version

    def look_on(self) -> None:
        """All pages were seen. A change that was committed after the first was read may be dated before."""
        if self.first is not None and self.last is not None:
            # Not simply before `first`: listeners that have seen the same are to ask for the same.
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
    """The time from which to look after an event of this id; None for what is no id of ours."""
    if not text or not re.fullmatch(r"\d{1,17}", text):
        return None
    # What was committed late is dated before what was seen.
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
