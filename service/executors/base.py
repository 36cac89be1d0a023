"""The protocol between the service and an executor."""

from typing import Protocol


class Executor(Protocol):
    """Runs queued jobs in worker processes.

    `wake` and `cancel` are hints, which may be lost: a periodic scan of the database finds what they
    announce. They may be called from any thread.
    """

    def wake(self, device: str) -> None:
        """Wake a worker, because a job was queued for `device`."""

    def cancel(self, job_id: str) -> None:
        """Stop a job, if one of this executor's workers trains it, because its cancel was requested."""

    def close(self) -> None:
        """Release running jobs, so that they are queued again, and stop the workers."""
