"""Client of the helper processes."""

from typing import Protocol, TypeVar

from service.helper.request import Request

A = TypeVar("A")


class Helpers(Protocol):
    """Runs tasks on requests, data and models in processes with time and memory limits."""

    async def call(
        self, request: Request[A], body: bytes = b"", timeout_seconds: float | None = None
    ) -> tuple[A, memoryview]:
        """Run one task.

        Args:
            request: The task and its arguments.
            body: The data that the task works on.
            timeout_seconds: The task's time limit; None: the usual one.

        Returns:
            The answer, and the body that comes with it.

        Raises:
            FitserveError: The task raised this error, or could not run.
        """

    def ping(self) -> None:
        """Check that helpers can be called.

        Raises:
            Unavailable: No helper has started yet.
        """

    async def close(self) -> None:
        """Kill the helper processes."""
