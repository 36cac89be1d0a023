"""Event streams with many listeners and changes, on a server in this process to count its SQL statements."""

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
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from tests.support.records import new_dataset, new_job
from tests.support.server import until

OWNER = "default"
LISTENERS = 50
# More than two pages.
JOBS = 1200


@dataclass(frozen=True)
class Served:
    """A running server and its database."""

    address: tuple[str, int]
    storage: Storage
    watch: Watch

    def listen(self, path: str = "/v1/events") -> socket.socket:
        """Open an event stream of all jobs, or of one, and wait for the response's status."""
        listener = socket.create_connection(self.address, timeout=60.0)
        listener.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert listener.recv(1 << 12).startswith(b"HTTP/1.1 200")
        return listener

    def submit(self) -> str:
        """Submit a job, which stays queued, and return its id."""
        return self.storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))[0].id

    def change_all(self) -> None:
        """Change all jobs in one statement, so that all changes have the same time."""
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
        yield Served(address, storage, app.state.shutdown.watch)
    app.state.shutdown.request()
    server.should_exit = True
    thread.join()


@contextmanager
def counted(pattern: str) -> Iterator[Callable[[], int]]:
    """Yield a function that counts the SQL statements in the block that match a pattern."""
    found = list[str]()

    def count(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if re.search(pattern, statement):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield lambda: len(found)
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def receive_events(listener: socket.socket, job_ids: set[str]) -> None:
    """Receive until an event of each job has arrived."""
    received, rest = set[str](), b""
    while received != job_ids:
        rest += listener.recv(1 << 16)
        received |= {id.decode() for id in re.findall(rb'"id":"(job_\w{26})"', rest)} & job_ids
        rest = rest[-100:]


def receive_comments(listener: socket.socket, number: int) -> None:
    """Receive until `number` comments have arrived."""
    received = b""
    while received.count(events.KEEPALIVE_COMMENT) < number:
        received += listener.recv(1 << 16)


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send comments every half second."""
    monkeypatch.setattr(events, "KEEPALIVE_SECONDS", 0.5)


@pytest.mark.usefixtures("quick_beats")
@pytest.mark.parametrize("all_jobs", [False, True])
def test_comments_are_sent_to_a_listener_that_is_woken_often(served: Served, all_jobs: bool) -> None:
    """Changes without new events wake a listener, but do not delay its comments."""
    job_id = served.submit()
    with served.listen("/v1/events" if all_jobs else f"/v1/jobs/{job_id}/events") as listener:
        done = threading.Event()
        receiver = threading.Thread(target=lambda: (receive_comments(listener, 3), done.set()))
        receiver.start()
        until(lambda: served.watch.changed(job_id) or done.is_set())
        receiver.join()


@pytest.mark.usefixtures("quick_beats")
def test_listeners_to_one_job_share_their_reads(served: Served) -> None:
    """The number of reads of a job does not grow with the number of its listeners."""
    job_id = served.submit()
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(served.listen(f"/v1/jobs/{job_id}/events")) for _ in range(LISTENERS)
        ]
        for listener in listeners:
            receive_comments(listener, 1)
        with counted(r"FROM jobs\s+WHERE jobs.owner = ") as reads:
            for listener in listeners:
                receive_comments(listener, 4)
            assert 3 <= reads() < LISTENERS / 2


def test_listeners_to_all_jobs_share_their_reads(served: Served) -> None:
    """The number of reads per change does not grow with the number of listeners to all jobs."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(served.listen()) for _ in range(LISTENERS)]

        def change() -> None:
            job_id = served.submit()
            for listener in listeners:
                receive_events(listener, {job_id})

        change()  # from now on all listeners are at the same position
        with counted("read_at") as reads:
            for _ in range(3):
                change()
            assert 3 <= reads() < LISTENERS


def test_all_of_many_jobs_that_change_at_once_are_reported(served: Served) -> None:
    """A listener gets the changes of 1200 jobs at one time in few reads, and does not read them again."""
    ids = {served.submit() for _ in range(JOBS)}
    with counted("read_at") as reads, served.listen() as listener:
        served.change_all()
        receive_events(listener, ids)
        read = reads()
        assert JOBS / events.MAX_JOBS <= read <= 3 * JOBS / events.MAX_JOBS
        receive_events(listener, {served.submit()})
        assert reads() - read <= 3 * JOBS / events.MAX_JOBS
