"""The supervision of one worker: its state, its deadlines and the reasons to kill it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar, assert_never

import structlog

from service.worker.messages import (
    Alive,
    Assist,
    CheckSignals,
    Hold,
    Idle,
    JobChanged,
    JobStarted,
    Join,
    Lead,
    MakingProgress,
    Order,
    RanksNeeded,
    Ready,
    Rendezvous,
    Signal,
    SignalsHandled,
    Stop,
    TrainingStarted,
    TrainingSuspended,
    WarmingUp,
    Work,
)

log = structlog.get_logger()

# Grace periods for finishing a step or a checkpoint, after a cancel request and after `max_runtime_seconds`.
CANCEL_GRACE_SECONDS = 0.8
OVERRUN_GRACE_SECONDS = 1.0


class KillReason(Enum):
    """Why a supervisor kills a worker."""

    CANCEL = auto()
    RUNTIME = auto()
    HANG = auto()
    SILENCE = auto()
    UNKNOWN_MESSAGE = auto()
    RANK_LOST = auto()


class WorkerProcess(Protocol):
    """The process of a worker, on this machine or elsewhere."""

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life during the start (`time.monotonic`)."""

    def send(self, order: Order) -> None:
        """Send an order. Raises OSError if the process is gone."""

    def receive(self) -> Signal:
        """Wait for a signal.

        Raises:
            EOFError: The process is gone.
            OSError: The process is gone.
            ValueError: The message is no signal.
        """

    def kill(self) -> None:
        """Kill the process."""

    def describe_exit(self) -> str:
        """Describe in a sentence how the process ended."""


P = TypeVar("P", bound=WorkerProcess)


@dataclass(eq=False)
class SupervisedWorker(Generic[P]):
    """The state of a worker as its signals report it; a spare until it has joined.

    All times are those of `time.monotonic`.

    Attributes:
        process: The process.
        name: Id in the database; a replacement gets a new one.
        device: `cpu` or `cuda:N`.
        ready: Whether the process has loaded its libraries.
        idle: Whether the worker waits for an order.
        job_id: Id of the current job, or of the first job of a group; None between jobs.
        last_progress: Time of the last signal other than `Alive`.
        last_signal: Time of the last signal; before the first, time of the start.
        runtime_deadline: Time at which `max_runtime_seconds` of a job expire; infinity while no step runs.
        limited_job_id: Id of the job that `runtime_deadline` belongs to.
        stop_requested: Time of the first cancel order for the current job; infinity without one.
        held: Whether it claims no job because it will train one together with other workers, or does.
        parting_deadline: Time by which it must have left a training whose other processes are gone.
    """

    process: P
    name: str = ""
    device: str = ""
    ready: bool = False
    idle: bool = False
    job_id: str | None = None
    last_progress: float = 0.0
    last_signal: float = field(default_factory=time.monotonic)
    runtime_deadline: float = math.inf
    limited_job_id: str = ""
    stop_requested: float = math.inf
    held: bool = False
    parting_deadline: float = math.inf

    def join(self, name: str, device: str) -> None:
        """Order the process to work under a name and for a device."""
        self.name, self.device = name, device
        self._send(Join(name, device))

    def serves(self, device: str) -> bool:
        """Return whether the worker claims jobs for `device`: its own, or `cuda` for any GPU."""
        return self.device == device or self.device.startswith(f"{device}:")

    def wake(self) -> None:
        """Order the worker to look for a job."""
        self.idle = self.held = False
        self._send(Work())

    def hold(self) -> None:
        """Order the worker to claim no further job; it is idle again once it complies."""
        self.idle, self.held = False, True
        self._send(Hold())

    def lead(self, processes: int) -> None:
        """Order the worker to claim a job for several processes."""
        self.idle = self.held = False
        self._send(Lead(processes))

    def assist(self, rendezvous: Rendezvous, rank: int) -> None:
        """Order a held worker to train a job together with others; it is idle again after that."""
        self.idle = False
        self._send(Assist(rendezvous, rank))

    @property
    def is_free(self) -> bool:
        """Whether the worker waits for a job."""
        return self.idle and not self.held

    def stop(self) -> None:
        """Order the worker to release its jobs and exit."""
        self._send(Stop())

    def check_signals(self) -> None:
        """Order the worker to stop jobs with a cancel request, and start the grace period."""
        self.stop_requested = min(self.stop_requested, time.monotonic())
        self._send(CheckSignals())

    def _send(self, order: Order) -> None:
        try:
            self.process.send(order)
        except OSError:  # the next `receive` reports the end of the process
            log.debug("worker is gone", worker=self.name)

    def observe(self, signal: Signal) -> str | None:
        """Update the state from a signal; return the id of the job that it reports as changed, if any."""
        self.last_signal = time.monotonic()
        if isinstance(signal, Alive):
            return None
        self.last_progress = self.last_signal
        match signal:
            case Ready():
                self.ready = True
            case JobStarted(job_id):
                self._set_job(job_id)
                return job_id
            case JobChanged(job_id):
                return job_id
            case TrainingStarted(job_id, seconds_left):
                self.limited_job_id = job_id
                # If the time expired during a write, the next step still gets the full grace period.
                left = math.inf if seconds_left is None else max(0.0, seconds_left)
                self.runtime_deadline = self.last_progress + left
            case TrainingSuspended():
                self.runtime_deadline = math.inf
            case SignalsHandled():
                self._set_job(self.job_id)
            case WarmingUp():
                self._set_job(None)
            case Idle():
                self._set_job(None)
                self.idle = True
            case MakingProgress() | RanksNeeded():
                pass
            case _:
                assert_never(signal)
        return None

    def _set_job(self, job_id: str | None) -> None:
        """Set the current job, and clear the deadlines of the previous one."""
        self.idle, self.job_id = False, job_id
        self.runtime_deadline = self.stop_requested = self.parting_deadline = math.inf

    def restart_deadlines(self) -> None:
        """Restart all deadlines: the supervisor itself may have been suspended."""
        now = time.monotonic()
        self.last_signal = now
        self.stop_requested, self.runtime_deadline = (
            max(self.stop_requested, now),
            max(self.runtime_deadline, now),
        )

    def deadlines(
        self, hang_seconds: float, silent_seconds: float, start_seconds: float
    ) -> Sequence[tuple[float, KillReason]]:
        """Return the times at which the worker must be killed, with their reasons, the most specific first.

        Args:
            hang_seconds: Maximum time without progress during a job.
            silent_seconds: Maximum time without a signal once the process is ready.
            start_seconds: Maximum time without a sign of life until then.
        """
        if self.ready:
            silence = (self.last_signal + silent_seconds, KillReason.SILENCE)
        else:
            silence = (max(self.last_signal, self.process.last_sign) + start_seconds, KillReason.SILENCE)
        parting = (self.parting_deadline, KillReason.RANK_LOST)
        if self.job_id is None:
            return [parting, silence]
        return [
            parting,
            (self.stop_requested + CANCEL_GRACE_SECONDS, KillReason.CANCEL),
            (self.runtime_deadline + OVERRUN_GRACE_SECONDS, KillReason.RUNTIME),
            (self.last_progress + hang_seconds, KillReason.HANG),
            silence,
        ]
