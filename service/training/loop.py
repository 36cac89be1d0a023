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
    measured time of a step. A chunk lies inside one epoch or ends where an epoch ends, so that a checkpoint
    can be taken there. How steps are cut into chunks never changes a result.

    Yields:
        The epochs that ended in a chunk; None when the chunk lay inside one epoch.
    """
    wanted = 1
    while engine.stop_reason is None:
        steps = _to_an_epochs_end(engine, wanted)
        started = clock()
        chunk = engine.advance(steps)
        seconds_per_step = max(clock() - started, 1e-9) / steps
        yield chunk
        wanted = max(1, min(int(chunk_seconds / seconds_per_step), wanted * GROWTH))


def _to_an_epochs_end(engine: Engine, wanted: int) -> int:
    """The steps to the last end of an epoch within reach; as many as wanted where none is."""
    beyond = wanted - engine.steps_left
    return wanted if beyond < 0 else wanted - beyond % engine.steps_per_epoch
