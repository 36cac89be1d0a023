"""What the rest of the service asks of whoever runs workers."""

from typing import Protocol


class Executor(Protocol):
    """Runs queued jobs in worker processes."""

    def wake(self, device: str) -> None:
        """A job for this device was queued. A hint: a sweep finds what a lost hint left."""

    def cancel(self, job_id: str) -> None:
        """This job is to be cancelled. A hint as well: what runs elsewhere is found by a sweep there."""

    def close(self) -> None:
        """Give running jobs back to the queue and end the workers."""
