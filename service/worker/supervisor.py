"""The supervisor of a worker, as the worker's own code sees it."""

import threading
from typing import Protocol

from service.worker.messages import Rendezvous


class Supervisor(Protocol):
    """Receives signals from a worker and sets events for it.

    Every signal shows that the worker makes progress: a worker that sends none for `hang_seconds` is killed.

    Attributes:
        stopping: Set when the worker must release its jobs and exit.
        signalled: Set when the owner of a running job has requested a cancel or a pause; cleared by the
            worker before it reads from the database which.
    """

    stopping: threading.Event
    signalled: threading.Event

    def job_started(self, job_id: str) -> None:
        """Report that a job was claimed; of a group, the first."""

    def job_changed(self, job_id: str) -> None:
        """Report that readers can find something new about a job."""

    def ranks_needed(self, rendezvous: Rendezvous) -> None:
        """Report that a job for several processes waits for the other ones."""

    def making_progress(self) -> None:
        """Report progress, with nothing new for readers."""

    def training_started(self, job_id: str, seconds_left: float) -> None:
        """Report that training steps follow.

        Args:
            job_id: The job that reaches its `max_runtime_seconds` first.
            seconds_left: Time until then, negative once it has passed; infinity without a limit.
        """

    def training_suspended(self) -> None:
        """Report that work follows which `max_runtime_seconds` does not limit."""

    def signals_handled(self) -> None:
        """Report that members of a group have stopped as requested and the others continue."""
