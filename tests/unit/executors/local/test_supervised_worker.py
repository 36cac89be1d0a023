"""What a parent makes of what a worker says."""

import math
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from service.executors.local.supervised_worker import (
    CANCEL_GRACE_SECONDS,
    OVERRUN_GRACE_SECONDS,
    Overdue,
    Worker,
)
from service.processes.channel import Channel

SILENT_SECONDS = 25.0
START_SECONDS = 60.0


@dataclass
class Process:
    """A child whose words are the test's."""

    channel: Channel
    said: Channel
    last_sign: float = 0.0


@pytest.fixture
def process() -> Iterator[Process]:
    """A process that doesn't exist."""
    ours, theirs = map(Channel, socket.socketpair())
    yield Process(ours, theirs)
    ours.close()
    theirs.close()


@pytest.fixture
def worker(process: Process) -> Worker:
    """It, as its parent sees it."""
    return Worker(process)  # type: ignore[arg-type]


def hear(
    worker: Worker,
    process: Process,
    event: str,
    job_id: str | None = None,
    seconds_left: float | None = None,
) -> str | None:
    """Let it say something; what is new then."""
    process.said.send({"event": event, "job_id": job_id, "seconds_left": seconds_left})
    return worker.hear()


def due(worker: Worker, reason: Overdue) -> Any:
    """When it has to be ended for a reason."""
    return {why: when for when, why in worker.deadlines(600.0, SILENT_SECONDS, START_SECONDS)}[reason]


def test_a_process_that_never_gets_warm_is_ended(worker: Worker, process: Process) -> None:
    """It may import libraries for a minute; once it is warm, it has to say in time that it is alive."""
    begin = worker.alive
    assert due(worker, Overdue.SILENCE) == begin + START_SECONDS
    hear(worker, process, "warm")
    assert due(worker, Overdue.SILENCE) == worker.alive + SILENT_SECONDS
    assert worker.alive > begin


@pytest.mark.parametrize(("seconds_left", "seconds"), [(5.0, 5.0), (0.0, 0.0), (-3.0, 0.0), (None, math.inf)])
def test_a_step_may_take_a_while_after_its_time(
    worker: Worker, process: Process, seconds_left: float | None, seconds: float
) -> None:
    """Time that was over while something was written, before the step, is over from now on."""
    hear(worker, process, "begins", "job_1")
    assert hear(worker, process, "limit", "job_1", seconds_left) is None
    assert due(worker, Overdue.RUNTIME) == worker.heard + seconds + OVERRUN_GRACE_SECONDS
    assert worker.limited == "job_1"


def test_a_sign_of_life_of_a_companion_puts_no_cancel_off(worker: Worker, process: Process) -> None:
    """Jobs of a group are set up one by one: each is heard of, and the group has still to stop in time."""
    hear(worker, process, "begins", "job_1")
    worker.ask_to_stop()
    asked = worker.asked
    assert [hear(worker, process, "changed", f"job_{n}") for n in (2, 3)] == ["job_2", "job_3"]
    worker.ask_to_stop()  # the next sweep finds it, too
    assert worker.job_id == "job_1"
    assert due(worker, Overdue.CANCEL) == asked + CANCEL_GRACE_SECONDS


@pytest.mark.parametrize(
    ("event", "job_id"), [("begins", "job_1"), ("begins", "job_2"), ("warms up", None), ("idle", None)]
)
def test_what_was_asked_of_jobs_before_is_over(
    worker: Worker, process: Process, event: str, job_id: str | None
) -> None:
    """A group that has done what owners wanted, a new job and an idle worker have nothing to stop for."""
    hear(worker, process, "begins", "job_1")
    worker.ask_to_stop()
    assert hear(worker, process, event, job_id) == job_id
    assert (worker.job_id, worker.asked, worker.idle) == (job_id, math.inf, event == "idle")


def test_nobody_is_held_to_what_was_due_while_its_parent_was_away(worker: Worker, process: Process) -> None:
    """From then on it has its grace; what was not due is due when it was."""
    hear(worker, process, "begins", "job_1")
    hear(worker, process, "limit", "job_1", 0.0)
    worker.ask_to_stop()
    before = time.monotonic()
    worker.excuse()
    graces = {Overdue.CANCEL: CANCEL_GRACE_SECONDS, Overdue.RUNTIME: OVERRUN_GRACE_SECONDS}
    for reason, seconds in graces.items():
        assert due(worker, reason) >= before + seconds
    hear(worker, process, "limit", "job_1", 60.0)
    ends = due(worker, Overdue.RUNTIME)
    worker.excuse()
    assert due(worker, Overdue.RUNTIME) == ends
