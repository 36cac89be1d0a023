"""What the rest of the service asks of whoever runs workers and helpers."""

from collections.abc import Mapping
from typing import Any, Protocol


class Executor(Protocol):
    """Runs queued jobs in worker processes."""

    def wake(self, device: str) -> None:
        """A job for this device was queued. A hint: a sweep finds what a lost hint left."""

    def cancel(self, job_id: str) -> None:
        """This job is to be cancelled. A hint as well: what runs elsewhere is found by a sweep there."""

    def close(self) -> None:
        """Give running jobs back to the queue and end the workers."""


class Helpers(Protocol):
    """Runs short tasks on models in warm processes, under limits."""

    async def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        body: bytes = b"",
        timeout_seconds: float | None = None,
    ) -> tuple[dict[str, Any], memoryview]:
        """Run the task of this name; its JSON header and body. Raises what the task raises.

        `timeout_seconds` takes the place of the usual limit.
        """

    def ping(self) -> None:
        """Raise `Unavailable` while none can be called."""

    async def close(self) -> None:
        """End the processes."""
