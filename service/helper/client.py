"""Client of the helper processes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.helper.request import Request
from service.processes.channel import BodyInFile

A = TypeVar("A")


async def _is_present() -> None:
    pass


@dataclass(frozen=True)
class Caller:
    """The client for which helpers are called; clients share the helpers fairly.

    Attributes:
        name: Equal for calls of the same client.
        check: Raises if the client is gone, so that its call needs no helper any longer.
    """

    name: str = ""
    check: Callable[[], Awaitable[None]] = _is_present


NOBODY = Caller()


class Helpers(Protocol):
    """Runs tasks on requests, data and models in processes with time and memory limits."""

    async def call(
        self,
        request: Request[A],
        body: bytes | BodyInFile = b"",
        timeout_seconds: float | None = None,
        caller: Caller = NOBODY,
    ) -> tuple[A, memoryview]:
        """Run one task.

        Args:
            request: The task and its arguments.
            body: The data that the task works on.
            timeout_seconds: The task's time limit, and that of waiting for a helper; None: the usual one.
            caller: The client.

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
