"""Persist an attempt's progress, checkpoints and outcome.

While the database or the artifact store is unavailable, training goes on: progress is kept in memory, and a
checkpoint is tried again later. Only the outcome waits until it can be written.
"""

import itertools
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from service.datasets.samples import Samples
from service.errors import CheckpointNotWritten, FitserveError, Unavailable
from service.settings import Settings
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, Ending, LeaseLost, Outcome, Signals
from service.storage.json_text import json_text
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.training.target_units import evaluation_document
from service.worker.attempt import HISTORY_DELAYED, NO_CHECKPOINT, RECORD_SECONDS, Attempt
from service.worker.divergence import divergence
from service.worker.supervisor import Supervisor

log = structlog.get_logger()

T = TypeVar("T")

RETRY_SECONDS = 0.5
# Limit how often checkpoints are written: writing them takes at most this share of the time.
SAVING_SHARE = 0.02
NO_SIGNALS = Signals(cancel_requested=False, pause_requested=False)
_STATUS = {StopReason.CANCELLED: JobStatus.CANCELLED, StopReason.DIVERGED: JobStatus.FAILED}


class Recorder:
    """Persists the progress, checkpoints and outcomes of attempts.

    Args:
        settings: Intervals and limits.
        storage: The database and the artifact store.
        supervisor: Receives signals. Once its `stopping` event is set, nothing is retried.
    """

    def __init__(self, settings: Settings, storage: Storage, supervisor: Supervisor) -> None:
        self._settings = settings
        self._storage = storage
        self._supervisor = supervisor

    def is_record_due(self, recorded: float) -> bool:
        """Return whether progress must be written and the owner's signals read now.

        Clears the supervisor's `signalled` event when it returns True.

        Args:
            recorded: When that was done last (`time.monotonic`).
        """
        if not self._supervisor.signalled.is_set() and time.monotonic() - recorded < RECORD_SECONDS:
            return False
        # Before the database is read: a signal that arrives during the read causes another one.
        self._supervisor.signalled.clear()
        return True

    def record(self, attempt: Attempt) -> Signals:
        """Write the pending history and warnings; return the owner's signals."""
        try:
            signals = self._record(attempt)
        except Unavailable as error:
            log.warning("progress not written", job_id=attempt.job.id, reason=error.detail)
            attempt.warn(HISTORY_DELAYED, error.detail)
            self._supervisor.making_progress()
            return NO_SIGNALS
        finally:
            attempt.recorded = time.monotonic()
        self._supervisor.job_changed(attempt.job.id)
        return signals

    def _record(self, attempt: Attempt) -> Signals:
        signals = self._storage.claims.record(attempt.report())
        attempt.mark_reported()
        return signals

    def is_save_due(self, attempt: Attempt) -> bool:
        """Return whether a checkpoint must be written now."""
        period = max(self._settings.checkpoint_seconds, attempt.last_saving_seconds / SAVING_SHARE)
        return time.monotonic() - attempt.saved >= period

    def save(self, attempt: Attempt) -> None:
        """Write a checkpoint in place of the one before, which stays where the new one cannot be written."""
        try:
            self._record(attempt)  # the history ends where the checkpoint does
            (written,) = self._write_checkpoints([attempt])
            replaced = self._storage.claims.save_checkpoint(attempt.claim, written, self._kept(attempt))
            self._storage.artifacts.discard(replaced)
            attempt.active_warnings.discard(NO_CHECKPOINT)
            self._supervisor.job_changed(attempt.job.id)
        except Unavailable as error:
            log.warning("no checkpoint written", job_id=attempt.job.id, reason=error.detail)
            attempt.warn(NO_CHECKPOINT, error.detail)
        finally:
            attempt.saved = time.monotonic()

    def save_and_release(self, attempt: Attempt) -> None:
        """Release the job to the queue, or to rest if it was paused, to resume from a new checkpoint."""
        self.save(attempt)
        reasons = [
            *attempt.warnings,
            *(["The service is stopping."] if self._supervisor.stopping.is_set() else []),
        ]
        self.release(attempt.claim, " ".join(reasons))

    def release(self, claim: Claim, reason: str, *, lost: bool = False) -> None:
        """Release a job to resume from its last checkpoint; the reason is written to its log.

        Args:
            claim: The claim of the job.
            reason: A sentence.
            lost: Whether another worker that trained it was lost, which counts against the job.
        """
        self.retry(claim, lambda: self._storage.claims.release(claim, reason, lost=lost))

    def record_all(self, attempts: Sequence[Attempt]) -> Sequence[Signals | None]:
        """Write the pending history of several attempts; return signals, None for a reclaimed job."""
        try:
            signals = self._storage.claims.record_all([attempt.report() for attempt in attempts])
        except Unavailable as error:
            log.warning(
                "progress not written", job_ids=[attempt.job.id for attempt in attempts], reason=error.detail
            )
            for attempt in attempts:
                attempt.warn(HISTORY_DELAYED, error.detail)
            return [NO_SIGNALS] * len(attempts)
        for attempt in attempts:
            attempt.mark_reported()
            self._supervisor.job_changed(attempt.job.id)
        return signals

    def finish(self, attempt: Attempt, reason: StopReason) -> None:
        """Write the job's last history, checkpoint and outcome in one transaction."""
        self._finish(*self._endings([(attempt, reason)]))

    def finish_all(self, ended: Sequence[tuple[Attempt, StopReason]]) -> None:
        """Finish several jobs in one transaction, except those that were reclaimed."""
        endings = self._endings(ended)
        while endings:
            try:
                return self._finish(*endings)
            except LeaseLost as lost:
                log.warning("claim lost", job_id=lost.args[0].job_id)
                endings = [ending for ending in endings if ending.claim != lost.args[0]]

    def _endings(self, ended: Sequence[tuple[Attempt, StopReason]]) -> list[Ending]:
        """Write the last checkpoints of jobs and return their endings.

        Raises:
            CheckpointNotWritten: A checkpoint could not be written.
        """
        saved = [
            reason is not StopReason.DIVERGED or attempt.engine.best is not None for attempt, reason in ended
        ]
        written = iter(
            self._write_last_checkpoints([attempt for attempt, _ in itertools.compress(ended, saved)])
        )
        return [
            self._ending(attempt, reason, [next(written)] if is_saved else [])
            for (attempt, reason), is_saved in zip(ended, saved, strict=True)
        ]

    def _ending(self, attempt: Attempt, reason: StopReason, checkpoints: Sequence[NewCheckpoint]) -> Ending:
        diverged = reason is StopReason.DIVERGED
        timings, progress = (
            attempt.timings(),
            attempt.progress(),
        )  # before the test, which is not training time
        error = divergence(attempt, self._continue_or_raise) if diverged else None
        outcome = Outcome(
            status=_STATUS.get(reason, JobStatus.SUCCEEDED),
            stop_reason=reason,
            test=None if diverged else self._test(attempt),
            timings=timings,
            error=None if error is None else json_text(error.document(_path(attempt.claim))),
        )
        keep = self._kept(attempt) if checkpoints else None
        return Ending(attempt.claim, outcome, progress, attempt.rows(), checkpoints, keep, attempt.warnings)

    def _test(self, attempt: Attempt) -> str | None:
        """Return loss and metrics on the test rows, for the parameters that predictions use by default.

        Raises:
            Unavailable: The process is stopping.
        """
        samples: Samples | None = attempt.data.test
        if samples is None:
            return None
        if attempt.engine.components.spec.predicts_best:
            attempt.engine.load_best()
        evaluation = attempt.engine.evaluate(samples, self._continue_or_raise)
        units = attempt.engine.components.units
        return json_text(evaluation_document(units, evaluation.loss, evaluation.metrics))

    def _continue_or_raise(self) -> None:
        if self._supervisor.stopping.is_set():
            raise Unavailable("The service is stopping.")
        self._supervisor.making_progress()

    def fail(self, claim: Claim, error: FitserveError, attempt: Attempt | None) -> None:
        """Fail the job with an error, and write the progress of its attempt if it began to train."""
        outcome = Outcome(JobStatus.FAILED, StopReason.ERROR, error=json_text(error.document(_path(claim))))
        if attempt is None:
            self._finish(Ending(claim, outcome))
        else:
            self._finish(
                Ending(claim, outcome, attempt.progress(), attempt.rows(), warnings=attempt.warnings)
            )

    def _finish(self, *endings: Ending) -> None:
        replaced = self.retry(endings[0].claim, lambda: self._storage.claims.finish(*endings))
        for ending in endings:
            outcome = ending.outcome
            log.info(
                "job ended", job_id=ending.claim.job_id, status=outcome.status, reason=outcome.stop_reason
            )
        self._storage.artifacts.discard(replaced)

    def _write_checkpoints(self, attempts: Sequence[Attempt]) -> Sequence[NewCheckpoint]:
        started = time.monotonic()
        written: list[tuple[int, int, int]] = []

        def write(attempt: Attempt, path: Path) -> None:
            checkpoint = _checkpoint(attempt)
            step = checkpoint.partial.step if checkpoint.partial else 0
            written.append((checkpoint.last.epoch, step, checkpoint.save(path)))

        artifacts = self._storage.artifacts.put_all(
            [(f"checkpoints/{attempt.job.id}", partial(write, attempt)) for attempt in attempts]
        )
        for attempt in attempts:
            attempt.last_saving_seconds = (time.monotonic() - started) / len(attempts)
            attempt.saving_seconds += attempt.last_saving_seconds
        return [
            NewCheckpoint(epoch, artifact, size, step)
            for (epoch, step, size), artifact in zip(written, artifacts, strict=True)
        ]

    def _write_last_checkpoints(self, attempts: Sequence[Attempt]) -> Sequence[NewCheckpoint]:
        """Write checkpoints that must not be skipped, retrying for `storage_patience_seconds`.

        Raises:
            CheckpointNotWritten: They could not be written in that time.
        """
        if not attempts:
            return []
        write = partial(self._write_checkpoints, attempts)
        return self.retry_briefly(attempts[0].claim, write, CheckpointNotWritten)

    def retry_briefly(self, claim: Claim, act: Callable[[], T], failure: Callable[[str], FitserveError]) -> T:
        """Call `act`, retrying for up to `storage_patience_seconds` while storage is unavailable.

        Raises:
            FitserveError: `failure`, after that time.
        """
        return self.retry(claim, act, self._settings.storage_patience_seconds, failure)

    def retry(
        self,
        claim: Claim,
        act: Callable[[], T],
        patience_seconds: float = math.inf,
        failure: Callable[[str], FitserveError] = Unavailable,
    ) -> T:
        """Call `act`, retrying while the database or the artifact store is unavailable.

        Args:
            claim: Claim of the job that waits, for the log.
            act: Raises `Unavailable` to be called again.
            patience_seconds: Time after which to give up.
            failure: Makes the error to raise then.

        Raises:
            Unavailable: The process is stopping.
            FitserveError: `failure`, after `patience_seconds`.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                return act()
            except Unavailable as error:
                log.warning("waiting for storage", job_id=claim.job_id, reason=error.detail)
                if time.monotonic() >= deadline:
                    raise failure(error.detail) from error
                if self._supervisor.stopping.wait(RETRY_SECONDS):
                    raise
                self._supervisor.making_progress()

    def _kept(self, attempt: Attempt) -> Collection[int]:
        """Return the epochs whose checkpoints are kept: the last multiples of `checkpoint_every`."""
        every = attempt.engine.components.spec.checkpoint_every
        if every is None:
            return []
        return range(every, attempt.engine.epoch + 1, every)[-self._settings.checkpoints_kept :]


def _checkpoint(attempt: Attempt) -> Checkpoint:
    """Return the checkpoint to write for an attempt."""
    checkpoint = attempt.engine.checkpoint()
    if attempt.engine.stop_reason is StopReason.DIVERGED and checkpoint.best is not None:
        # The latest parameters are not finite: save those of the best epoch, which is complete.
        checkpoint = replace(checkpoint, last=checkpoint.best, partial=None)
    return replace(checkpoint, encoding=attempt.data.encoding.to_document())


def _path(claim: Claim) -> str:
    return f"/v1/jobs/{claim.job_id}"
