"""The state and the deadlines of a worker, which follow from its signals."""

import math
import time
from dataclasses import dataclass, field

import pytest

from service.executors.local.supervised_worker import (
    CANCEL_GRACE_SECONDS,
    OVERRUN_GRACE_SECONDS,
    KillReason,
    SupervisedWorker,
)
from service.worker.messages import (
    Alive,
    CheckSignals,
    Idle,
    JobChanged,
    JobStarted,
    MakingProgress,
    Order,
    Ready,
    Signal,
    SignalsHandled,
    TrainingStarted,
    TrainingSuspended,
    WarmingUp,
)

HANG_SECONDS = 600.0
SILENT_SECONDS = 25.0
START_SECONDS = 60.0


@dataclass
class Process:
    """A worker process that records its orders and never sends a signal."""

    pid: int | None = None
    last_sign: float = 0.0
    orders: list[Order] = field(default_factory=list)

    def send(self, order: Order) -> None:
        """Record the order."""
        self.orders.append(order)

    def receive(self) -> Signal:
        """Report the end of the process."""
        raise EOFError

    def kill(self) -> None:
        """Do nothing."""

    def describe_exit(self) -> str:
        """Return no description."""
        return ""


@pytest.fixture
def worker() -> SupervisedWorker[Process]:
    """A worker that has sent no signal."""
    return SupervisedWorker(Process())


def due(worker: SupervisedWorker[Process], reason: KillReason) -> float:
    """Return when the worker must be killed for a reason."""
    deadlines = worker.deadlines(HANG_SECONDS, SILENT_SECONDS, START_SECONDS)
    return {why: when for when, why in deadlines}[reason]


def test_a_process_that_never_becomes_ready_is_killed(worker: SupervisedWorker[Process]) -> None:
    """The start has its own limit; a worker that is ready must send signals in time."""
    begin = worker.last_signal
    assert due(worker, KillReason.SILENCE) == begin + START_SECONDS
    worker.observe(Ready())
    assert due(worker, KillReason.SILENCE) == worker.last_signal + SILENT_SECONDS
    assert worker.last_signal > begin


@pytest.mark.parametrize(
    "signal",
    [
        MakingProgress(),
        JobChanged("job_2"),
        TrainingStarted("job_1", 9.0),
        TrainingSuspended(),
        SignalsHandled(),
    ],
)
def test_every_signal_but_alive_resets_the_hang_deadline(
    worker: SupervisedWorker[Process], signal: Signal
) -> None:
    """`Alive` resets the deadline of silence only."""
    worker.observe(JobStarted("job_1"))
    hang, silence = due(worker, KillReason.HANG), worker.last_signal
    assert worker.observe(Alive()) is None
    assert due(worker, KillReason.HANG) == hang
    assert worker.last_signal > silence
    worker.observe(signal)
    assert due(worker, KillReason.HANG) == worker.last_signal + HANG_SECONDS > hang


@pytest.mark.parametrize(("seconds_left", "seconds"), [(5.0, 5.0), (0.0, 0.0), (-3.0, 0.0), (None, math.inf)])
def test_a_step_may_overrun_by_the_grace_period(
    worker: SupervisedWorker[Process], seconds_left: float | None, seconds: float
) -> None:
    """If the time ran out before the step, during a write, the grace period starts at the signal."""
    worker.observe(JobStarted("job_1"))
    assert worker.observe(TrainingStarted("job_1", seconds_left)) is None
    assert due(worker, KillReason.RUNTIME) == worker.last_progress + seconds + OVERRUN_GRACE_SECONDS
    assert worker.limited_job_id == "job_1"
    worker.observe(TrainingSuspended())
    assert due(worker, KillReason.RUNTIME) == math.inf


def test_a_change_of_a_companion_does_not_delay_a_cancel(worker: SupervisedWorker[Process]) -> None:
    """Signals about members of a group leave the deadline of a cancel as it was."""
    worker.observe(JobStarted("job_1"))
    worker.check_signals()
    requested = worker.stop_requested
    assert [worker.observe(JobChanged(f"job_{n}")) for n in (2, 3)] == ["job_2", "job_3"]
    worker.check_signals()  # the next scan finds the cancel as well
    assert worker.process.orders == [CheckSignals()] * 2
    assert worker.job_id == "job_1"
    assert due(worker, KillReason.CANCEL) == requested + CANCEL_GRACE_SECONDS


@pytest.mark.parametrize(
    ("signal", "job_id", "changed"),
    [
        (SignalsHandled(), "job_1", None),
        (JobStarted("job_2"), "job_2", "job_2"),
        (WarmingUp(), None, None),
        (Idle(), None, None),
    ],
)
def test_a_cancel_ends_with_the_work_that_it_was_for(
    worker: SupervisedWorker[Process], signal: Signal, job_id: str | None, changed: str | None
) -> None:
    """A group that has handled its signals, a new job and an idle worker have no cancel to obey."""
    worker.observe(JobStarted("job_1"))
    worker.check_signals()
    assert worker.observe(signal) == changed
    assert (worker.job_id, worker.stop_requested, worker.idle) == (job_id, math.inf, signal == Idle())


def test_deadlines_restart_after_the_supervisor_was_suspended(worker: SupervisedWorker[Process]) -> None:
    """Deadlines that have passed get their grace period again; later ones stay."""
    worker.observe(JobStarted("job_1"))
    worker.observe(TrainingStarted("job_1", 0.0))
    worker.check_signals()
    before = time.monotonic()
    worker.restart_deadlines()
    graces = {KillReason.CANCEL: CANCEL_GRACE_SECONDS, KillReason.RUNTIME: OVERRUN_GRACE_SECONDS}
    for reason, seconds in graces.items():
        assert due(worker, reason) >= before + seconds
    worker.observe(TrainingStarted("job_1", 60.0))
    deadline = due(worker, KillReason.RUNTIME)
    worker.restart_deadlines()
    assert due(worker, KillReason.RUNTIME) == deadline
