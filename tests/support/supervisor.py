"""A supervisor that records the signals of a worker."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from service.worker.messages import Rendezvous


@dataclass
class RecordingSupervisor:
    """Records signals; see `service.worker.supervisor.Supervisor`.

    Attributes:
        stopping: Set to request a stop.
        signalled: Set to request a check of the signals of jobs.
        signals: Name and arguments of each signal.
        on_job_changed: Called with the id of a job that has changed.
    """

    stopping: threading.Event = field(default_factory=threading.Event)
    signalled: threading.Event = field(default_factory=threading.Event)
    signals: list[tuple[object, ...]] = field(default_factory=list)
    on_job_changed: Callable[[str], None] = lambda job_id: None

    def job_started(self, job_id: str) -> None:
        """Record the signal."""
        self.signals.append(("job_started", job_id))

    def job_changed(self, job_id: str) -> None:
        """Record the signal."""
        self.signals.append(("job_changed", job_id))
        self.on_job_changed(job_id)

    def ranks_needed(self, rendezvous: Rendezvous) -> None:
        """Record the signal."""
        self.signals.append(("ranks_needed", rendezvous))

    def making_progress(self) -> None:
        """Record the signal."""
        self.signals.append(("making_progress",))

    def training_started(self, job_id: str, seconds_left: float) -> None:
        """Record the signal."""
        self.signals.append(("training_started", job_id, seconds_left))

    def training_suspended(self) -> None:
        """Record the signal."""
        self.signals.append(("training_suspended",))

    def signals_handled(self) -> None:
        """Record the signal."""
        self.signals.append(("signals_handled",))
