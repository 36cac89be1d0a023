"""Writes what a run comes to: progress, checkpoints, its end.

The database or the place of the artifacts may be away for a while. Training goes on meanwhile: progress is
kept back until it can be written, and a checkpoint that can't be is tried again later. Only the end waits.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from service.datasets.samples import Samples
from service.errors import CheckpointNotWritten, FieldError, FitserveError, TrainingDiverged, Unavailable
from service.settings import Settings
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, Ending, LeaseLost, Outcome, Signals
from service.storage.json_text import json_text
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.worker.attempt import KEPT_BACK, NO_CHECKPOINT, RECORD_SECONDS, Run

log = structlog.get_logger()

T = TypeVar("T")

RETRY_SECONDS = 0.5
# Checkpoints are taken so seldom that writing them takes no larger share of the time.
SAVING_SHARE = 0.02
NO_SIGNALS = Signals(cancel_requested=False, pause_requested=False)
_STATUS = {StopReason.CANCELLED: JobStatus.CANCELLED, StopReason.DIVERGED: JobStatus.FAILED}


class Recorder:
    """Writes what runs come to.

    Args:
        stopping: set when the process is to end: nothing is waited for then.
        wanted: set when an owner wants something, until it is asked what.
        on_change: called with a job's id whenever there may be something new about it.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        stopping: threading.Event,
        wanted: threading.Event,
        on_change: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._stopping = stopping
        self._wanted = wanted
        self._on_change = on_change

    def is_record_due(self, recorded: float) -> bool:
        """Whether it is time to write how far a job is, and to learn what its owner wants.

        Args:
            recorded: when that was done last.
        """
        if not self._wanted.is_set() and time.monotonic() - recorded < RECORD_SECONDS:
            return False
        self._wanted.clear()
        return True

    def record(self, run: Run) -> Signals:
        """Write what is pending; what the owner wants meanwhile."""
        try:
            return self._record(run)
        except Unavailable as error:
            log.warning("progress kept back", job_id=run.job.id, reason=error.detail)
            run.warn(KEPT_BACK, error.detail)
            return NO_SIGNALS
        finally:
            run.recorded = time.monotonic()
            self._on_change(run.job.id)

    def _record(self, run: Run) -> Signals:
        signals = self._storage.claims.record(run.report())
        run.reported()
        return signals

    def is_save_due(self, run: Run) -> bool:
        """Whether it is time for a checkpoint."""
        period = max(self._settings.checkpoint_seconds, run.last_saving_seconds / SAVING_SHARE)
        return time.monotonic() - run.saved >= period

    def save(self, run: Run) -> None:
        """Publish a checkpoint; the one before stays where that can't be done."""
        try:
            self._record(run)  # the history ends where the checkpoint does
            (written,) = self._write_checkpoints([run])
            replaced = self._storage.claims.save_checkpoint(run.claim, written, self._kept(run))
            self._storage.artifacts.discard(replaced)
            run.troubles.discard(NO_CHECKPOINT)
        except Unavailable as error:
            log.warning("no checkpoint written", job_id=run.job.id, reason=error.detail)
            run.warn(NO_CHECKPOINT, error.detail)
        finally:
            run.saved = time.monotonic()

    def give_back(self, run: Run) -> None:
        """Put the job back into the queue, or to rest, to go on from here."""
        self.save(run)
        reasons = [*run.warnings, *(["The service stops."] if self._stopping.is_set() else [])]
        self.release(run.claim, " ".join(reasons))

    def release(self, claim: Claim, reason: str) -> None:
        """Put a job back as it was saved, for a reason that its log tells."""
        self.patiently(claim, lambda: self._storage.claims.release(claim, reason))

    def record_all(self, runs: Sequence[Run]) -> Sequence[Signals | None]:
        """Write what is pending of several runs; None for one whose job was taken back."""
        try:
            signals = self._storage.claims.record_all([run.report() for run in runs])
        except Unavailable as error:
            log.warning("progress kept back", job_ids=[run.job.id for run in runs], reason=error.detail)
            for run in runs:
                run.warn(KEPT_BACK, error.detail)
            return [NO_SIGNALS] * len(runs)
        for run in runs:
            run.reported()
            self._on_change(run.job.id)
        return signals

    def finish(self, run: Run, reason: StopReason) -> None:
        """End the job with its last history, its checkpoint and its figures, in one transaction."""
        self._finish(*self._endings([(run, reason)]))

    def finish_all(self, ended: Sequence[tuple[Run, StopReason]]) -> None:
        """End several jobs in one transaction; those that were taken back meanwhile are left out."""
        endings = self._endings(ended)
        while endings:
            try:
                return self._finish(*endings)
            except LeaseLost as lost:
                log.warning("claim lost", job_id=lost.args[0].job_id)
                endings = [ending for ending in endings if ending.claim != lost.args[0]]

    def _endings(self, ended: Sequence[tuple[Run, StopReason]]) -> list[Ending]:
        """The ends of jobs; their last checkpoints are written then.

        Raises:
            CheckpointNotWritten: when they can't be.
        """
        saved = [reason is not StopReason.DIVERGED or run.engine.best is not None for run, reason in ended]
        written = iter(self._write_last_checkpoints([run for run, _ in itertools.compress(ended, saved)]))
        return [
            self._ending(run, reason, [next(written)] if is_saved else [])
            for (run, reason), is_saved in zip(ended, saved, strict=True)
        ]

    def _ending(self, run: Run, reason: StopReason, checkpoints: Sequence[NewCheckpoint]) -> Ending:
        diverged = reason is StopReason.DIVERGED
        timings, progress = run.timings(), run.progress()  # the test that follows is no training
        outcome = Outcome(
            status=_STATUS.get(reason, JobStatus.SUCCEEDED),
            stop_reason=reason,
            test=None if diverged else self._test(run),
            timings=timings,
            error=json_text(_divergence(run).document(_path(run.claim))) if diverged else None,
        )
        keep = self._kept(run) if checkpoints else None
        return Ending(run.claim, outcome, progress, run.rows(), checkpoints, keep, run.warnings)

    def _test(self, run: Run) -> str | None:
        """Loss and metrics on the test rows, of the parameters that predictions take by default.

        Raises:
            Unavailable: the process is to end.
        """
        part: Samples | None = run.data.test
        if part is None:
            return None
        if run.engine.components.spec.predicts_best:
            run.engine.load_best()
        evaluation = run.engine.evaluate(part, lambda: self._go_on(run))
        return json_text({"loss": evaluation.loss, "metrics": evaluation.metrics})

    def _go_on(self, run: Run) -> None:
        if self._stopping.is_set():
            raise Unavailable("The service stops.")
        self._on_change(run.job.id)  # a sign of life

    def fail(self, claim: Claim, error: FitserveError, run: Run | None) -> None:
        """End the job with an error, and with what it had come to."""
        outcome = Outcome(JobStatus.FAILED, StopReason.ERROR, error=json_text(error.document(_path(claim))))
        if run is None:
            self._finish(Ending(claim, outcome))
        else:
            self._finish(Ending(claim, outcome, run.progress(), run.rows(), warnings=run.warnings))

    def _finish(self, *endings: Ending) -> None:
        replaced = self.patiently(endings[0].claim, lambda: self._storage.claims.finish(*endings))
        self._storage.artifacts.discard(replaced)

    def _write_checkpoints(self, runs: Sequence[Run]) -> Sequence[NewCheckpoint]:
        started = time.monotonic()
        written: list[tuple[int, int, int]] = []

        def write(run: Run, path: Path) -> None:
            checkpoint = _checkpoint(run)
            step = checkpoint.partial.step if checkpoint.partial else 0
            written.append((checkpoint.last.epoch, step, checkpoint.save(path)))

        artifacts = self._storage.artifacts.put_all(
            [(f"checkpoints/{run.job.id}", partial(write, run)) for run in runs]
        )
        for run in runs:
            run.last_saving_seconds = (time.monotonic() - started) / len(runs)
            run.saving_seconds += run.last_saving_seconds
        return [
            NewCheckpoint(epoch, artifact, size, step)
            for (epoch, step, size), artifact in zip(written, artifacts, strict=True)
        ]

    def _write_last_checkpoints(self, runs: Sequence[Run]) -> Sequence[NewCheckpoint]:
        """Checkpoints that must be written: tried for a while.

        Raises:
            CheckpointNotWritten: when that was in vain.
        """
        if not runs:
            return []
        write = partial(self._write_checkpoints, runs)
        return self.for_a_while(runs[0].claim, write, CheckpointNotWritten)

    def for_a_while(self, claim: Claim, act: Callable[[], T], failure: Callable[[str], FitserveError]) -> T:
        """What an act gives that needs room on a disk, tried for `storage_patience_seconds`.

        Raises:
            FitserveError: `failure`, when that was in vain.
        """
        return self.patiently(claim, act, self._settings.storage_patience_seconds, failure)

    def patiently(
        self,
        claim: Claim,
        act: Callable[[], T],
        patience_seconds: float = math.inf,
        failure: Callable[[str], FitserveError] = Unavailable,
    ) -> T:
        """What an act gives that needs the database or a disk, tried again until that is there.

        Raises:
            Unavailable: the process is to end.
            FitserveError: `failure`, after so many seconds.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                return act()
            except Unavailable as error:
                log.warning("storage is awaited", job_id=claim.job_id, reason=error.detail)
                if time.monotonic() >= deadline:
                    raise failure(error.detail) from error
                if self._stopping.wait(RETRY_SECONDS):
                    raise
                self._on_change(claim.job_id)  # a sign of life

    def _kept(self, run: Run) -> Collection[int]:
        """The epochs whose checkpoints stay: the last of those that `checkpoint_every` asks for."""
        every = run.engine.components.spec.checkpoint_every
        if every is None:
            return []
        return range(every, run.engine.epoch + 1, every)[-self._settings.checkpoints_kept :]


def _checkpoint(run: Run) -> Checkpoint:
    """What is saved of a run."""
    checkpoint = run.engine.checkpoint()
    if run.engine.stop_reason is StopReason.DIVERGED and checkpoint.best is not None:
        # What came after is not finite: the checkpoint is that of the best epoch, a whole one.
        checkpoint = replace(checkpoint, last=checkpoint.best, partial=None)
    return replace(checkpoint, encoding=run.data.encoding.to_document())


def _divergence(run: Run) -> TrainingDiverged:
    kept = f" The parameters of epoch {run.engine.best.epoch} are kept." if run.engine.best else ""
    return TrainingDiverged(
        f"The loss of epoch {run.engine.epoch} is not finite.{kept}",
        [FieldError("#/training/optimizer", "Try a smaller `lr`, or set `training.gradient_clip_norm`.")],
    )


def _path(claim: Claim) -> str:
    return f"/v1/jobs/{claim.job_id}"
