"""The one loop: asks an engine for a chunk of steps at a time and hands on the history.

It knows neither SQL nor HTTP. Whoever iterates may stop iterating: that is cancel and pause.
"""

import time
from collections.abc import Callable, Iterator

from service.training.engines import Engine
from service.training.history import HistoryChunk

CHUNK_SECONDS = 0.25
GROWTH = 8


def train(
    engine: Engine, chunk_seconds: float = CHUNK_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[HistoryChunk | None]:
    """Train to the end, in chunks of about `chunk_seconds`.

    The first chunk is one step, so that the first sign of life comes at once; chunks then grow with the
    measured time of a step. How steps are cut into chunks never changes a result.

    Yields:
        The epochs that ended in a chunk; None when the chunk lay inside one epoch.
    """
    steps = 1
    while engine.stop_reason is None:
        started = clock()
        chunk = engine.advance(steps)
        seconds_per_step = max(clock() - started, 1e-9) / steps
        yield chunk
        steps = max(1, min(int(chunk_seconds / seconds_per_step), steps * GROWTH))
