"""Train jobs side by side, each with its own history, end, cancel and pause."""

import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from service.specs.job import StopReason
from service.storage.claims import LeaseLost, Signals
from service.training.engines.base import Group
from service.training.loop import train
from service.worker.attempt import Attempt
from service.worker.recorder import Recorder
from service.worker.supervisor import Supervisor

log = structlog.get_logger()


def train_group(
    attempts: Sequence[Attempt], group: Group, recorder: Recorder, supervisor: Supervisor
) -> None:
    """Train the jobs of a group until each has ended or was released.

    Args:
        attempts: One per member, in the order of the group's members.
        group: Executes the trainings.
        recorder: Persists progress and outcomes.
        supervisor: Receives signals; its `stopping` event ends the training.
    """
    # The members that still train, by their index in the group, which doesn't change when others end.
    active = dict(enumerate(attempts))
    _report_training(active, supervisor)
    recorded = time.monotonic()
    for chunks in train(group):
        for attempt, chunk in zip(attempts, chunks, strict=True):
            if chunk is not None:
                attempt.add_history(chunk)
        if supervisor.stopping.is_set():
            supervisor.training_suspended()
            _finish_ended(active, recorder)
            for attempt in active.values():
                with suppress(LeaseLost):  # it was reclaimed
                    recorder.save_and_release(attempt)
            return
        for index, attempt in active.items():
            if attempt.engine.stop_reason is None and attempt.seconds_left <= 0:
                group.stop(index, StopReason.MAX_RUNTIME)
        if recorder.is_record_due(recorded):
            supervisor.training_suspended()
            _finish_ended(active, recorder)
            _record_and_heed_signals(active, group, recorder)
            supervisor.signals_handled()
            _report_training(active, supervisor)
            recorded = time.monotonic()
    supervisor.training_suspended()
    _finish_ended(active, recorder)


def _report_training(active: dict[int, Attempt], supervisor: Supervisor) -> None:
    if active:
        first = min(active.values(), key=lambda attempt: attempt.seconds_left)
        supervisor.training_started(first.job.id, first.seconds_left)


def _finish_ended(active: dict[int, Attempt], recorder: Recorder) -> None:
    """Finish the jobs whose training has stopped, and remove them from the active ones."""
    ended = {
        index: (attempt, reason)
        for index, attempt in active.items()
        if (reason := attempt.engine.stop_reason) is not None
    }
    recorder.finish_all([*ended.values()])
    for index in ended:
        del active[index]


def _record_and_heed_signals(active: dict[int, Attempt], group: Group, recorder: Recorder) -> None:
    """Write the jobs' progress; stop those that were cancelled, paused or reclaimed."""
    signals_of_all = recorder.record_all([*active.values()])
    for (index, attempt), signals in zip([*active.items()], signals_of_all, strict=True):
        if signals is not None and signals.cancel_requested:
            group.stop(index, StopReason.CANCELLED)  # still active: `_finish_ended` writes its end
        elif not _continues(attempt, signals, recorder):
            group.stop(index, StopReason.CANCELLED)
            del active[index]


def _continues(attempt: Attempt, signals: Signals | None, recorder: Recorder) -> bool:
    """Return whether a job goes on training, after its pause or a checkpoint that is due."""
    try:
        if signals is None:
            raise LeaseLost(attempt.claim)
        if signals.pause_requested:
            recorder.save_and_release(attempt)
            return False
        if recorder.is_save_due(attempt):
            recorder.save(attempt)
    except LeaseLost:  # the job was reclaimed; the others go on
        log.warning("claim lost", job_id=attempt.job.id, attempt=attempt.job.attempt)
        return False
    return True
