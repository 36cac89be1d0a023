"""The queue of calls that wait for a helper."""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.helper.request import Lane

H = TypeVar("H")

_arrivals = itertools.count()


@dataclass(eq=False)
class WaitingCall(Generic[H]):
    """A call that waits for a helper.

    Attributes:
        task: Name of its task.
        caller: Name of its client.
        lane: Group of its task.
        is_brief: Whether an express helper may try it.
        helper: Set by the pool to the helper that runs it.
        arrival: Its number in the order of arrival.
    """

    task: str
    caller: str
    lane: Lane
    is_brief: bool
    helper: "asyncio.Future[H]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    arrival: int = field(default_factory=lambda: next(_arrivals))


class CallQueue(Generic[H]):
    """Waiting calls, in turns of client and lane, so that many calls of one delay only themselves."""

    def __init__(self) -> None:
        # The key that was served longest ago is first.
        self._calls: OrderedDict[tuple[str, Lane], deque[WaitingCall[H]]] = OrderedDict()

    def push(self, call: WaitingCall[H]) -> None:
        """Add a call."""
        self._calls.setdefault((call.caller, call.lane), deque()).append(call)

    def pop_oldest(self, admits: Callable[[Lane], bool]) -> WaitingCall[H] | None:
        """Remove and return the oldest call of the next client and lane; None if there is none.

        Args:
            admits: Returns whether a lane may have a helper.
        """
        for key, calls in [*self._calls.items()]:
            _drop_cancelled(calls)
            if calls and not admits(key[1]):
                continue
            call = calls.popleft() if calls else None
            self._turn(key)
            if call is not None:
                return call
        return None

    def pop_newest_brief(self) -> WaitingCall[H] | None:
        """Remove and return the newest call that an express helper may try, of the next client and lane.

        The newest, since the older ones probably wait behind each other's length.
        """
        for key, calls in [*self._calls.items()]:
            brief = next((call for call in reversed(calls) if call.is_brief and not call.helper.done()), None)
            if brief is not None:
                calls.remove(brief)
                self._turn(key)
                return brief
        return None

    def _turn(self, key: tuple[str, Lane]) -> None:
        if self._calls[key]:
            self._calls.move_to_end(key)
        else:
            del self._calls[key]

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Let all calls fail."""
        for calls in self._calls.values():
            for call in calls:
                if not call.helper.done():
                    call.helper.set_exception(error())
        self._calls.clear()


def _drop_cancelled(calls: deque[WaitingCall[H]]) -> None:
    while calls and calls[0].helper.done():
        calls.popleft()
