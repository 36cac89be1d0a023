"""The training loop: a generator that advances an engine chunk by chunk and yields the history.

It knows neither SQL nor HTTP. To cancel or pause a training, stop iterating.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from service.training.engines.base import Stepper

ChunkT = TypeVar("ChunkT")

CHUNK_SECONDS = 0.25  # intended duration of a chunk
GROWTH = 32  # maximum factor between the steps of consecutive chunks


def train(
    engine: Stepper[ChunkT],
    checkpoint_every: int | None = None,
    chunk_seconds: float = CHUNK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[ChunkT]:
    """Train until the engine stops, in chunks of about `chunk_seconds`.

    The first chunk is a single step, so that progress is reported at once. The next chunks grow, by at most
    `GROWTH`, to the number of steps that fit into `chunk_seconds` by the measured time of a step. A chunk is
    part of one epoch or ends with an epoch, so that a pause between chunks interrupts no epoch if epochs are
    short. The division of steps into chunks never changes a result.

    Args:
        engine: Engine of one training or of a group.
        checkpoint_every: Number of epochs; a chunk ends at each multiple of it.
        chunk_seconds: Intended duration of a chunk.
        clock: Monotonic clock, in seconds.

    Yields:
        The result of `engine.advance`: the history of the epochs that ended in a chunk.
    """
    target = 1  # steps of the next chunk, before it is cut at the end of an epoch
    while engine.stop_reason is None:
        steps = _steps_to_epoch_end(engine, target)
        if checkpoint_every is not None:
            steps = min(steps, _steps_to_multiple(engine, checkpoint_every))
        before, started = _steps_taken(engine), clock()
        chunk = engine.advance(steps)
        seconds = max(clock() - started, 1e-9)
        # The engine may take fewer steps than requested, for instance because it stops.
        seconds_per_step = seconds / max(1, _steps_taken(engine) - before)
        yield chunk
        target = max(1, min(int(chunk_seconds / seconds_per_step), target * GROWTH))


def _steps_taken(engine: Stepper[Any]) -> int:
    """Return the number of steps taken so far, including those before a restored checkpoint."""
    return (engine.epoch + 1) * engine.steps_per_epoch - engine.steps_left


def _steps_to_epoch_end(engine: Stepper[Any], limit: int) -> int:
    """Return the steps to the last end of an epoch within `limit` steps; `limit` if no epoch ends in them."""
    beyond = limit - engine.steps_left  # steps after the end of the current epoch
    return limit if beyond < 0 else limit - beyond % engine.steps_per_epoch


def _steps_to_multiple(engine: Stepper[Any], epochs: int) -> int:
    """Return the steps to the end of the next epoch whose number is a multiple of `epochs`."""
    whole_epochs = epochs - engine.epoch % epochs - 1  # after the current epoch
    return whole_epochs * engine.steps_per_epoch + engine.steps_left
