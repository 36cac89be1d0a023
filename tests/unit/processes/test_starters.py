"""Starters of child processes: the behaviour of both, and the guarantees of the fork server."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from service.helper.request import Request
from service.processes.child import Child
from service.processes.fork_server import ForkServer
from service.processes.spawn import Spawner
from service.processes.starter import Starter, make_starter
from service.settings import Settings
from tests.support.server import until
from tests.support.small_helper import MODULE, REQUESTS, Echo, Exit, GetState

A = TypeVar("A")

START_SECONDS = 60.0
STARTERS: dict[str, Callable[[], Starter]] = {
    "fork": lambda: ForkServer([MODULE], START_SECONDS),
    "spawn": Spawner,
}


@pytest.fixture(params=STARTERS)
def starter(request: pytest.FixtureRequest) -> Iterator[Starter]:
    """A starter, by fork and by exec."""
    with closing(STARTERS[request.param]()) as starter:
        yield starter


@pytest.fixture
def fork_server() -> Iterator[ForkServer]:
    """A fork server that has imported the small helper."""
    with closing(ForkServer([MODULE], START_SECONDS)) as server:
        yield server


def ready(starter: Starter, folder: Path) -> Child:
    """Start a child and receive its first message."""
    child = starter.start(MODULE, Settings(data_dir=folder))
    child.channel.receive()
    return child


def ask(child: Child, request: Request[A]) -> A:
    """Send a request to a child and return its answer."""
    child.channel.send(REQUESTS.dump(request))
    header, _ = child.channel.receive()
    answer: A = request.answers.load(header)
    return answer


def test_a_child_answers_and_its_exit_status_is_known(starter: Starter, tmp_path: Path) -> None:
    """A child runs the module's `main`; when that returns, the process exits with status 0."""
    child = ready(starter, tmp_path)
    assert ask(child, Echo()).pid == child.pid
    child.channel.send(REQUESTS.dump(Exit()))
    until(lambda: child.has_ended)
    assert child.describe_exit() == "Its process exited with status 0."
    child.kill()


def test_a_child_ignores_sigterm(starter: Starter, tmp_path: Path) -> None:
    """A child waits for orders if a service manager sends SIGTERM to all processes of the service."""
    child = ready(starter, tmp_path)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGTERM)
    assert ask(child, Echo()).pid == child.pid
    child.kill()


def test_a_child_holds_only_its_own_descriptors(starter: Starter, tmp_path: Path) -> None:
    """A child has one socket: an inherited one would keep a sibling's channel open after its death."""
    children = [ready(starter, tmp_path) for _ in range(3)]
    for child in children:
        opened = [each.split(":", 1) for each in ask(child, GetState()).descriptors]
        assert [target.split(":")[0] for number, target in opened if int(number) > 2] == ["socket"]
    for child in children:
        child.kill()


def test_a_child_exits_if_its_channel_is_closed_before_it_starts(starter: Starter, tmp_path: Path) -> None:
    """A child that is no longer needed exits by itself."""
    child = starter.start(MODULE, Settings(data_dir=tmp_path))
    child.channel.close()
    until(lambda: child.pid is not None and child.has_ended)


def test_each_child_has_its_own_random_numbers(fork_server: ForkServer, tmp_path: Path) -> None:
    """Each child reseeds the generator that the fork has copied, and resets signal handlers."""
    children = [ready(fork_server, tmp_path) for _ in range(2)]
    states = [ask(child, GetState()) for child in children]
    assert states[0].random != states[1].random
    assert not any(state.ignored for state in states)
    for child in children:
        child.kill()


def test_children_are_processes_of_the_service(fork_server: ForkServer, tmp_path: Path) -> None:
    """The process that requested a child is its parent and reaps it: no zombie remains."""
    child = ready(fork_server, tmp_path)
    process = psutil.Process(child.pid)
    assert process.ppid() == os.getpid()
    assert process.cmdline()[0] == "fitserve small helper"
    child.kill()
    assert not psutil.pid_exists(process.pid)


def test_children_outlive_the_fork_server(fork_server: ForkServer, tmp_path: Path) -> None:
    """After kill -9 of the fork server a child answers, its exit status is known, and new ones start."""
    child, first = ready(fork_server, tmp_path), fork_server.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(first) or psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    assert ask(child, Echo()).pid == child.pid
    child.end()
    until(lambda: child.has_ended)
    assert (
        child.describe_exit()
        == "Its process was killed by SIGKILL, which the system sends when memory runs out."
    )
    child.kill()
    another = ready(fork_server, tmp_path)
    assert fork_server.pid != first
    another.kill()


def test_a_child_that_is_never_forked_counts_as_ended(fork_server: ForkServer, tmp_path: Path) -> None:
    """The channel reports EOF if the fork server dies before it has forked the child."""
    ready(fork_server, tmp_path).kill()
    os.kill(fork_server.pid, signal.SIGSTOP)
    child = fork_server.start(MODULE, Settings(data_dir=tmp_path))
    assert child.pid is None
    assert not child.has_ended
    os.kill(fork_server.pid, signal.SIGKILL)
    with pytest.raises((EOFError, ConnectionError)):
        child.channel.receive()
    until(lambda: child.has_ended)
    child.kill()


def test_a_child_can_be_killed_before_it_exists(fork_server: ForkServer, tmp_path: Path) -> None:
    """A child that is killed while the fork server is frozen is killed and reaped once it is forked."""
    ready(fork_server, tmp_path).kill()
    os.kill(fork_server.pid, signal.SIGSTOP)
    child = fork_server.start(MODULE, Settings(data_dir=tmp_path))
    child.kill()
    assert child.has_ended
    os.kill(fork_server.pid, signal.SIGCONT)
    until(lambda: child.pid is not None)
    pid = child.pid
    until(lambda: fork_server.maintain() or not psutil.pid_exists(pid or 0))


def test_a_killed_child_that_nobody_waits_for_is_reaped(fork_server: ForkServer, tmp_path: Path) -> None:
    """A child that was killed, and is not asked about again, does not stay as a zombie."""
    child = ready(fork_server, tmp_path)
    pid = child.pid or 0
    child.end()
    until(lambda: fork_server.maintain() or not psutil.pid_exists(pid))
    assert child.describe_exit().startswith("Its process was killed by SIGKILL")
    child.kill()


def test_threads_may_wait_for_the_same_child(fork_server: ForkServer, tmp_path: Path) -> None:
    """Every thread that polls a child learns its exit status."""
    child = ready(fork_server, tmp_path)

    def wait_for_end() -> str:
        while not child.has_ended:
            pass
        return child.describe_exit()

    with ThreadPoolExecutor(8) as threads:
        ends = [threads.submit(wait_for_end) for _ in range(8)]
        child.channel.send(REQUESTS.dump(Exit()))
        assert {end.result() for end in ends} == {"Its process exited with status 0."}
    child.kill()


def test_a_child_for_a_dead_fork_server_has_ended(fork_server: ForkServer, tmp_path: Path) -> None:
    """While no fork server lives and none may be started yet, a new child counts as ended at once."""
    for _ in range(2):  # the first one is replaced at once, the second after `RESTART_SECONDS`
        pid = fork_server.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        child = fork_server.start(MODULE, Settings(data_dir=tmp_path))
        if fork_server.pid != pid:
            child.channel.receive()
            child.kill()
    with pytest.raises(EOFError):
        child.channel.receive()
    assert child.has_ended
    child.kill()


def test_a_child_that_cannot_be_forked_has_ended(tmp_path: Path) -> None:
    """A fork that fails is reported: the child counts as ended, and the fork server is not to blame."""
    with closing(ForkServer([MODULE, "tests.support.unforkable"], START_SECONDS)) as server:
        child = server.start(MODULE, Settings(data_dir=tmp_path))
        with pytest.raises((EOFError, ConnectionError)):
            child.channel.receive()
        until(lambda: child.has_ended)
        child.kill()
        assert server._open_requests == {}


def test_a_child_that_is_killed_before_it_reports_its_id_leaves_no_zombie(tmp_path: Path) -> None:
    """The fork server reports it, too, so that the service knows of its end and waits for it."""
    before = psutil.Process().children()
    with closing(ForkServer([MODULE, "tests.support.killed_child"], START_SECONDS)) as server:
        child = server.start(MODULE, Settings(data_dir=tmp_path))
        with pytest.raises((EOFError, ConnectionError)):
            child.channel.receive()
        until(lambda: child.has_ended)
        assert child.pid is not None
        assert server._open_requests == {}
        assert [each.pid for each in psutil.Process().children() if each not in before] == [server.pid]
        child.kill()


def test_a_fork_server_that_is_stuck_is_replaced(tmp_path: Path) -> None:
    """A fork server without a sign of life during an open request is killed and replaced."""
    with closing(ForkServer([MODULE], start_seconds=0.5)) as server:
        ready(server, tmp_path).kill()
        stuck = server.pid
        os.kill(stuck, signal.SIGSTOP)
        lost = server.start(MODULE, Settings(data_dir=tmp_path))
        until(lambda: server.maintain() or server.pid != stuck)
        until(lambda: lost.has_ended)
        lost.kill()
        server._start_seconds = START_SECONDS
        ready(server, tmp_path).kill()


def test_no_threads_run_in_the_fork_server() -> None:
    """At each fork the fork server of workers and helpers has its main thread, and Arrow's allocator's."""
    settings = Settings(start_method="fork")
    with closing(make_starter(settings, ["service.worker.main", "service.helper.main"])) as server:
        child = server.start("service.helper.main", settings)
        child.channel.receive()
        assert isinstance(server, ForkServer)
        tasks = Path(f"/proc/{server.pid}/task").iterdir()
        names = sorted((task / "comm").read_text().strip() for task in tasks)
        child.kill()
    assert [name for name in names if not name.startswith("jemalloc")] == ["fitserve fork s"]
