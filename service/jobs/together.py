"""Jobs that train side by side: each with its own history, end, cancel and pause."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from service.jobs.recorder import Recorder
from service.jobs.run import RECORD_SECONDS, Run
from service.specs.job import StopReason
from service.training.engines import Group
from service.training.loop import train

log = structlog.get_logger()


def train_together(
    runs: Sequence[Run],
    group: Group,
    recorder: Recorder,
    stopping: threading.Event,
    on_training: Callable[[str, float], None],
) -> None:
    """Train the jobs of a group to their ends.

    Args:
        runs: in the order of the group's members.
        stopping: set when the jobs are to be given back.
        on_training: called when training begins, with the seconds it may take.
    """
    going = dict(enumerate(runs))
    on_training(runs[0].job.id, min(run.seconds_left for run in runs))
    recorded = time.monotonic()
    for chunks in train(group):
        for run, chunk in zip(runs, chunks, strict=True):
            if chunk is not None:
                run.note(chunk)
        if stopping.is_set():
            _end(going, recorder)
            for run in going.values():
                recorder.give_back(run)
            return
        for place, run in going.items():
            if run.engine.stop_reason is None and run.seconds_left <= 0:
                group.stop(place, StopReason.MAX_RUNTIME)
        if time.monotonic() - recorded >= RECORD_SECONDS:
            _end(going, recorder)
            _heed(going, group, recorder)
            recorded = time.monotonic()
    _end(going, recorder)


def _end(going: dict[int, Run], recorder: Recorder) -> None:
    """End the jobs that have nothing left to do."""
    ended = {place: run for place, run in going.items() if run.engine.stop_reason is not None}
    recorder.finish_all([(run, run.engine.stop_reason or StopReason.COMPLETED) for run in ended.values()])
    for place in ended:
        del going[place]


def _heed(going: dict[int, Run], group: Group, recorder: Recorder) -> None:
    """Write how far the jobs are, and do what their owners want of them meanwhile."""
    places = list(going)
    for place, signals in zip(places, recorder.record_all(list(going.values())), strict=True):
        run = going[place]
        if signals is None:
            log.warning("claim lost", job_id=run.job.id, attempt=run.job.attempt)
            group.stop(place, StopReason.CANCELLED)
            del going[place]
        elif signals.cancel_requested:
            group.stop(place, StopReason.CANCELLED)
        elif signals.pause_requested:
            recorder.give_back(run)
            group.stop(place, StopReason.CANCELLED)
            del going[place]
        elif recorder.is_save_due(run):
            recorder.save(run)
