"""Many listeners and many changes, on a server in this process: its statements can be counted."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, event

from service.api.routes import events
from service.app import create_app
from service.events.watch import Watch
from service.settings import Settings
from service.storage.job_record import job_update
from service.storage.storage import Storage
from tests.support.records import new_dataset, new_job
from tests.support.server import until

OWNER = "default"
LISTENERS = 50
# More than two pages.
JOBS = 1200


@dataclass(frozen=True)
class Served:
    """A server, and the database behind it."""

    address: tuple[str, int]
    storage: Storage
    watch: Watch

    def listen(self, path: str = "/v1/events") -> socket.socket:
        """A connection that follows all jobs, or one, once it is answered."""
        listener = socket.create_connection(self.address, timeout=60.0)
        listener.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert listener.recv(1 << 12).startswith(b"HTTP/1.1 200")
        return listener

    def submit(self) -> str:
        """The id of a job that stays queued."""
        return self.storage.jobs.submit(OWNER, new_job(), new_dataset())[0].id

    def change_all(self) -> None:
        """A change of all jobs in one statement, and so at one time."""
        with self.storage.database.write() as connection:
            connection.execute(job_update(cancel_requested=True))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server without workers."""
    settings = Settings(data_dir=tmp_path, workers=0, gpu_workers=False, helpers=1, scan_seconds=0.1)
    app = create_app(settings)
    listening = socket.create_server(("127.0.0.1", 0), backlog=LISTENERS)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    address = listening.getsockname()
    thread.start()
    until(lambda: server.started)
    with Storage.open(settings) as storage:
        until(lambda: httpx.get(f"http://127.0.0.1:{address[1]}/v1/jobs").is_success)
        yield Served(address, storage, app.state.stop.watch)
    app.state.shutdown.request()
    server.should_exit = True
    thread.join()


@contextmanager
def counted(pattern: str) -> Iterator[Callable[[], int]]:
    """Counts the statements of this process that are like a pattern."""
    found = list[str]()

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if re.search(pattern, statement):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield lambda: len(found)
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def hear(listener: socket.socket, job_ids: set[str]) -> None:
    """Receive until there was an event of each of these jobs."""
    heard, rest = set[str](), b""
    while heard != job_ids:
        rest += listener.recv(1 << 16)
        heard |= {id.decode() for id in re.findall(rb'"id":"(job_\w{26})"', rest)} & job_ids
        rest = rest[-100:]


def hear_comments(listener: socket.socket, number: int) -> None:
    """Receive until there were so many comments."""
    heard = b""
    while heard.count(events.KEEPALIVE_COMMENT) < number:
        heard += listener.recv(1 << 16)


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments come every half second."""
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.5)


@pytest.mark.usefixtures("quick_beats")
@pytest.mark.parametrize("all_jobs", [False, True])
def test_comments_come_whatever_wakes_a_listener(served: Served, all_jobs: bool) -> None:
    """A worker's signs of life wake the listeners to its job without news: the line isn't silent for that."""
    job_id = served.submit()
    with served.listen("/v1/events" if all_jobs else f"/v1/jobs/{job_id}/events") as listener:
        heard = threading.Event()
        hearing = threading.Thread(target=lambda: (hear_comments(listener, 3), heard.set()))
        hearing.start()
        until(lambda: served.watch.changed(job_id) or heard.is_set())
        hearing.join()


@pytest.mark.usefixtures("quick_beats")
def test_listeners_to_one_job_share_their_reads(served: Served) -> None:
    """However many follow a job, a change costs a read or two, and a beat no more."""
    job_id = served.submit()
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(served.listen(f"/v1/jobs/{job_id}/events")) for _ in range(LISTENERS)
        ]
        for listener in listeners:
            hear_comments(listener, 1)
        with counted(r"FROM jobs\s+WHERE jobs.owner = ") as reads:
            for listener in listeners:
                hear_comments(listener, 4)
            assert 3 <= reads() < LISTENERS / 2


def test_listeners_to_all_jobs_share_their_reads(served: Served) -> None:
    """However many listen, a change costs a few questions to the database, and not one for each."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(served.listen()) for _ in range(LISTENERS)]

        def change() -> None:
            job_id = served.submit()
            for listener in listeners:
                hear(listener, {job_id})

        change()  # from here on all have seen the same
        with counted("read_at") as reads:
            for _ in range(3):
                change()
            assert 3 <= reads() < LISTENERS


def test_more_than_a_page_of_jobs_that_change_at_once_are_all_told(served: Served) -> None:
    """A change of 1200 jobs in one statement reaches a listener whole, in few reads, and then it is quiet."""
    ids = {served.submit() for _ in range(JOBS)}
    with counted("read_at") as reads, served.listen() as listener:
        served.change_all()
        hear(listener, ids)
        read = reads()
        assert JOBS / events.MAX_JOBS <= read <= 3 * JOBS / events.MAX_JOBS
        hear(listener, {served.submit()})
        assert reads() - read <= 3 * JOBS / events.MAX_JOBS
