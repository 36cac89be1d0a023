"""Jobs that train side by side: each with its own history, end, cancel and pause."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from service.specs.job import StopReason
from service.storage.claims import LeaseLost, Signals
from service.training.engines.base import Group
from service.training.loop import train
from service.worker.attempt import Run
from service.worker.recorder import Recorder

log = structlog.get_logger()


def train_together(
    runs: Sequence[Run],
    group: Group,
    recorder: Recorder,
    stopping: threading.Event,
    on_begin: Callable[[str], None],
    on_limit: Callable[[str, float], None],
) -> None:
    """Train the jobs of a group to their ends.

    Args:
        runs: in the order of the group's members.
        stopping: set when the jobs are to be given back.
        on_begin: called with the first job's id when all is done that owners wanted so far.
        on_limit: called with the id of the job whose time is over first, and the seconds until then;
            infinity: what they are at now is not training.
    """
    going = dict(enumerate(runs))

    def limit() -> None:
        left = [(run.seconds_left, run.job.id) for run in going.values()]
        seconds_left, job_id = min(left, default=(math.inf, runs[0].job.id))
        on_limit(job_id, seconds_left)

    limit()
    recorded = time.monotonic()
    for chunks in train(group):
        for run, chunk in zip(runs, chunks, strict=True):
            if chunk is not None:
                run.note(chunk)
        if stopping.is_set():
            on_limit(runs[0].job.id, math.inf)
            _end(going, recorder)
            for run in going.values():
                with suppress(LeaseLost):
                    recorder.give_back(run)
            return
        for place, run in going.items():
            if run.engine.stop_reason is None and run.seconds_left <= 0:
                group.stop(place, StopReason.MAX_RUNTIME)
        if recorder.is_record_due(recorded):
            on_limit(runs[0].job.id, math.inf)
            _end(going, recorder)
            _heed(going, group, recorder)
            on_begin(runs[0].job.id)
            limit()
            recorded = time.monotonic()
    on_limit(runs[0].job.id, math.inf)
    _end(going, recorder)


def _end(going: dict[int, Run], recorder: Recorder) -> None:
    """End the jobs that have nothing left to do."""
    ended = {place: (run, reason) for place, run in going.items() if (reason := run.engine.stop_reason)}
    recorder.finish_all([*ended.values()])
    for place in ended:
        del going[place]


def _heed(going: dict[int, Run], group: Group, recorder: Recorder) -> None:
    """Write how far the jobs are, and do what their owners want of them meanwhile."""
    told = recorder.record_all([*going.values()])
    for (place, run), signals in zip([*going.items()], told, strict=True):
        if signals is not None and signals.cancel_requested:
            group.stop(place, StopReason.CANCELLED)
        elif not _stays(run, signals, recorder):
            group.stop(place, StopReason.CANCELLED)
            del going[place]


def _stays(run: Run, signals: Signals | None, recorder: Recorder) -> bool:
    """Whether a job goes on with its group: one that is to pause doesn't, nor one that was taken back."""
    try:
        if signals is None:
            raise LeaseLost(run.claim)
        if signals.pause_requested:
            recorder.give_back(run)
            return False
        if recorder.is_save_due(run):
            recorder.save(run)
    except LeaseLost:  # of one job only: the others go on
        log.warning("claim lost", job_id=run.job.id, attempt=run.job.attempt)
        return False
    return True
