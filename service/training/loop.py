"""The one loop: asks an engine for a chunk of steps at a time and hands on the history.

It knows neither SQL nor HTTP. Whoever iterates may stop iterating: that is cancel and pause.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from service.training.engines.base import Stepper

T = TypeVar("T")

CHUNK_SECONDS = 0.25
GROWTH = 32


def train(
    engine: Stepper[T],
    checkpoint_every: int | None = None,
    chunk_seconds: float = CHUNK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Train to the end, in chunks of about `chunk_seconds`.

    The first chunk is one step, so that the first sign of life comes at once; chunks then grow with the
    measured time of a step. A chunk lies inside one epoch or ends where an epoch ends: a pause leaves no part
    of an epoch where epochs are short. How steps are cut into chunks never changes a result.

    Args:
        engine: what trains: one training or several together.
        checkpoint_every: a chunk ends at each multiple of so many epochs.

    Yields:
        What the engine hands back: the epochs that ended in a chunk.
    """
    wanted = 1
    while engine.stop_reason is None:
        steps = _to_an_epochs_end(engine, wanted)
        if checkpoint_every is not None:
            steps = min(steps, _to_a_multiple(engine, checkpoint_every))
        before, started = _steps_before(engine), clock()
        chunk = engine.advance(steps)
        seconds = max(clock() - started, 1e-9)
        seconds_per_step = seconds / max(1, _steps_before(engine) - before)
        yield chunk
        wanted = max(1, min(int(chunk_seconds / seconds_per_step), wanted * GROWTH))


def _steps_before(engine: Stepper[Any]) -> int:
    """The steps taken so far, in this training and what it goes on from."""
    return (engine.epoch + 1) * engine.steps_per_epoch - engine.steps_left


def _to_an_epochs_end(engine: Stepper[Any], wanted: int) -> int:
    """The steps to the last end of an epoch within reach; as many as wanted where none is."""
    beyond = wanted - engine.steps_left
    return wanted if beyond < 0 else wanted - beyond % engine.steps_per_epoch


def _to_a_multiple(engine: Stepper[Any], epochs: int) -> int:
    """The steps to the next end of an epoch whose number is a multiple."""
    whole_epochs = epochs - engine.epoch % epochs - 1
    return whole_epochs * engine.steps_per_epoch + engine.steps_left
