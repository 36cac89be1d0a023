"""Jobs of a kind that keep coming: gathered for a moment, since in a larger group each takes a fraction."""

import time
from collections.abc import Callable

# So long after a group, jobs of its kind are taken for a stream of them.
STREAM_SECONDS = 1.0
# They are waited for while more keep coming, looked at so often, and no longer than this.
LOOK_SECONDS = 0.05
GATHER_SECONDS = 0.25


class Gathering:
    """Decides how many jobs a worker waits for before it trains a group.

    Args:
        wait: waits for so many seconds, or less where the worker is to stop; then it gives true.
    """

    def __init__(self, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._wait = wait
        self._clock = clock
        self._kind: str | None = None
        self._ended = 0.0

    def trained(self, kind: str) -> None:
        """A group of this kind has just ended."""
        self._kind, self._ended = kind, self._clock()

    def companions(self, kind: str, count: Callable[[], int], most: int) -> int:
        """How many companions a job of a kind can have, after a while in which more may come.

        A job without any is not kept waiting, nor is one that doesn't follow a group of its kind.

        Args:
            count: tells how many there are.
            most: no more are of use.
        """
        there, begun = count(), self._clock()
        if kind != self._kind or begun - self._ended > STREAM_SECONDS:
            return there
        before = 0
        while before < there < most and self._clock() - begun < GATHER_SECONDS:
            if self._wait(LOOK_SECONDS):
                break
            before, there = there, count()
        return there
