"""The parent process as the supervisor of a worker, over a channel."""

import math
import os
import threading
from typing import assert_never

import structlog

from service.processes.channel import Channel
from service.worker.messages import (
    ORDERS,
    SIGNALS,
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

Task = Work | Hold | Lead | Assist
"""The current task of a worker that has joined."""


class Parent:
    """Sends signals to the parent process and receives its orders in a thread.

    The process exits when the parent is gone, or sends an order that cannot be read.

    Attributes:
        stopping: Set when the worker must release its jobs and exit.
        signalled: Set when the owner of a running job has requested a cancel or a pause.
        ordered: Set by every order: a job may be queued, or the worker must join or stop.
        joined: Set when the worker must join as `membership` says, or stop without joining.
        membership: Name and device of the worker, once it was ordered to join.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.stopping = threading.Event()
        self.signalled = threading.Event()
        self.ordered = threading.Event()
        self.joined = threading.Event()
        self.membership: Join | None = None
        self._task: Task = Work()
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                header, _ = self._channel.receive()
                self._obey(ORDERS.load(header))
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone
            except Exception:
                log.exception("order not understood")
                os._exit(1)  # the parent replaces this process

    def _obey(self, order: Order) -> None:
        match order:
            case Join():
                self.membership = order
            case Stop():
                self.stopping.set()
            case CheckSignals():
                self.signalled.set()
            case Work() | Hold() | Lead() | Assist():
                self._task = order
            case _:
                assert_never(order)
        # Last: the main thread, once it wakes, reads what was set above.
        self.joined.set()
        self.ordered.set()

    def take_task(self) -> Task:
        """Return what the worker is to do next; a task for several processes is done once."""
        task = self._task
        if isinstance(task, (Lead, Assist)):
            self._task = Work() if isinstance(task, Lead) else Hold()
        return task

    def ready(self) -> None:
        """Report that the process has loaded its libraries and can join."""
        self._send(Ready())

    def alive(self) -> None:
        """Report that the process runs; says nothing about the progress of its job."""
        self._send(Alive())

    def job_started(self, job_id: str) -> None:
        """See `Supervisor`."""
        self._send(JobStarted(job_id))

    def job_changed(self, job_id: str) -> None:
        """See `Supervisor`."""
        self._send(JobChanged(job_id))

    def ranks_needed(self, rendezvous: Rendezvous) -> None:
        """See `Supervisor`."""
        self._send(RanksNeeded(rendezvous))

    def making_progress(self) -> None:
        """See `Supervisor`."""
        self._send(MakingProgress())

    def training_started(self, job_id: str, seconds_left: float) -> None:
        """See `Supervisor`."""
        self._send(TrainingStarted(job_id, None if math.isinf(seconds_left) else seconds_left))

    def training_suspended(self) -> None:
        """See `Supervisor`."""
        self._send(TrainingSuspended())

    def signals_handled(self) -> None:
        """See `Supervisor`."""
        self._send(SignalsHandled())

    def warming_up(self) -> None:
        """Report that no job is queued and the worker prepares for its first one."""
        self._send(WarmingUp())

    def idle(self) -> None:
        """Report that no job is queued and the worker waits for an order."""
        self._send(Idle())

    def _send(self, signal: Signal) -> None:
        try:
            self._channel.send(SIGNALS.dump(signal))
        except OSError:
            os._exit(1)  # the parent is gone
