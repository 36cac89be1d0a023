"""Wait a moment for further jobs of a group: the larger the group, the less time each job takes."""

import time
from collections.abc import Callable

# After a group, further jobs of its key that arrive within this time are treated as a stream.
STREAM_SECONDS = 1.0
# While a stream goes on, count its queued jobs at this interval, for at most BATCH_SECONDS.
POLL_SECONDS = 0.05
BATCH_SECONDS = 0.25


class Batcher:
    """Decides how long a worker waits for queued jobs before it trains a group.

    Args:
        wait: Waits for the given seconds; returns True at once when the worker must stop.
        clock: Returns monotonic seconds.
    """

    def __init__(self, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._wait = wait
        self._clock = clock
        self._last_key: str | None = None
        self._last_ended = 0.0

    def group_ended(self, group_key: str) -> None:
        """Record that a group of this key has just ended."""
        self._last_key, self._last_ended = group_key, self._clock()

    def count_companions(self, group_key: str, count: Callable[[], int], limit: int) -> int:
        """Count the queued companions of a job, after a short wait if more keep arriving.

        A job without companions does not wait, nor does one that does not follow a group of its key.

        Args:
            group_key: The group key of the job.
            count: Returns the number of companions that are queued now.
            limit: Number of companions from which waiting is useless.
        """
        current, started = count(), self._clock()
        if group_key != self._last_key or started - self._last_ended > STREAM_SECONDS:
            return current
        previous = 0
        # Wait only while the number grows: `previous` is the count one interval ago.
        while previous < current < limit and self._clock() - started < BATCH_SECONDS:
            if self._wait(POLL_SECONDS):
                break
            previous, current = current, count()
        return current
