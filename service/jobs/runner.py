"""From a claimed job to its end: load, train, record, save."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog
import torch

from service.datasets.prepare import Part, Prepared
from service.datasets.workspace import MappedBeyond
from service.errors import FieldError, FitserveError, TrainingDiverged, TrainingFailed, Unavailable
from service.jobs.data import JobData
from service.settings import Settings
from service.specs.architecture import read_architecture
from service.specs.job import JobStatus, StopReason
from service.specs.training import TrainingSpec
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, LeaseLost, Outcome, Progress, Signals
from service.storage.history import HistoryRow
from service.storage.jobs import Job
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.training.engines import Engine
from service.training.engines.engines import Engines
from service.training.history import HistoryChunk, epoch_document
from service.training.loop import train
from service.training.setup import assemble

log = structlog.get_logger()

# History reaches the database at most this often: a short job is two transactions, its claim and its end.
RECORD_SECONDS = 0.25


@dataclass
class Run:
    """One job while it trains.

    Attributes:
        pending: history that is not in the database yet.
        saved: when the newest checkpoint was published.
    """

    job: Job
    claim: Claim
    engine: Engine
    data: Prepared
    setup_seconds: float
    started: float = field(default_factory=time.monotonic)
    recorded: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    saving_seconds: float = 0.0
    pending: list[HistoryChunk] = field(default_factory=list)
    latest: dict[str, Any] | None = None


class Runner:
    """Claims jobs and trains them, one after the other.

    Args:
        worker_id: under which name to claim.
        stopping: set when the job at hand is to be given back.
        on_change: called with a job's id when something about it has changed.
    """

    def __init__(
        self,
        worker_id: str,
        settings: Settings,
        storage: Storage,
        stopping: threading.Event,
        on_change: Callable[[str], None],
    ) -> None:
        self._worker_id = worker_id
        self._settings = settings
        self._storage = storage
        self._stopping = stopping
        self._on_change = on_change
        self._engines = Engines(settings.threads_per_worker, settings.compiled())
        self._held: Claim | None = None

    def run_next(self, device: str) -> bool:
        """Claim a job for this device and see it to its end; False when none is queued."""
        queues = {device, device.split(":", maxsplit=1)[0]}
        job = self._storage.claims.claim(self._worker_id, queues, self._settings.lease_seconds)
        if job is None:
            return False
        claim = self._held = Claim.of(job)
        self._on_change(job.id)
        try:
            self._run(job, claim)
        except LeaseLost:
            log.warning("claim lost", job_id=job.id, attempt=job.attempt)
        except Unavailable as error:
            # The job is not to blame: once its lease has run out, it is queued again.
            log.warning("job given up", job_id=job.id, reason=error.detail)
        except Exception as error:  # one bad job harms no other: it ends with the reason
            log.exception("job failed", job_id=job.id)
            self._fail(job, claim, error)
        finally:
            self._held = None
            self._on_change(job.id)
        return True

    def warm_up(self) -> Iterator[None]:
        """What is better done before the first job than in it, piece by piece."""
        return self._engines.warm_up()

    def renew(self) -> None:
        """Extend the claim at hand; called by the heartbeat's thread."""
        claim = self._held
        if claim is not None:
            self._storage.claims.renew([claim], self._settings.lease_seconds)

    def _run(self, job: Job, claim: Claim) -> None:
        run = self._set_up(job, claim)
        deadline = _deadline(run)
        for chunk in train(run.engine):
            if chunk is not None:
                _note(run, chunk)
            if run.engine.stop_reason is not None:
                break
            if self._stopping.is_set():
                return self._give_back(run)
            now = time.monotonic()
            if now >= deadline:
                return self._finish(run, StopReason.MAX_RUNTIME)
            if now - run.recorded >= RECORD_SECONDS and self._record(run).cancel_requested:
                return self._finish(run, StopReason.CANCELLED)
            if now - run.saved >= self._settings.checkpoint_seconds and run.engine.at_epoch_start:
                self._save(run)
        self._finish(run, run.engine.stop_reason or StopReason.COMPLETED)

    def _set_up(self, job: Job, claim: Claim) -> Run:
        started = time.monotonic()
        request = orjson.loads(job.request)
        used = orjson.loads(job.used)
        training = TrainingSpec.model_validate(request["training"])
        architecture = read_architecture(request["architecture"])
        workspace = MappedBeyond(self._settings.scratch(), self._settings.in_memory_bytes)
        data = JobData.of(job, self._storage).prepare(workspace)
        torch.set_num_threads(used["threads"])
        parts = assemble(
            architecture,
            training,
            data,
            orjson.loads(job.report)["output_width"],
            torch.device("cuda" if used["device"].startswith("cuda") else "cpu"),
            request["precision"],
        )
        engine = self._engines.make(used["engine"], parts)
        if job.epoch:
            newest = self._storage.checkpoints.of_job(job.owner, job.id)[-1]
            engine.restore(Checkpoint.from_bytes(self._storage.artifacts.get(newest.artifact)))
            log.info("job resumed", job_id=job.id, epoch=job.epoch, attempt=job.attempt)
        return Run(job, claim, engine, data, time.monotonic() - started - engine.compile_seconds)

    def _record(self, run: Run) -> Signals:
        """Write what is pending; what the owner wants meanwhile."""
        signals = self._storage.claims.record(run.claim, _progress(run), _rows(run))
        run.pending = []
        run.recorded = time.monotonic()
        self._on_change(run.job.id)
        return signals

    def _give_back(self, run: Run) -> None:
        """Put the job back into the queue, to go on from here, or from the last epoch's checkpoint."""
        if run.engine.at_epoch_start:
            self._save(run)
        self._storage.claims.release(run.claim)

    def _save(self, run: Run) -> None:
        """Write a checkpoint and publish it in place of the one before; the history ends where it does."""
        self._record(run)
        written = self._write_checkpoint(run)
        replaced = self._storage.claims.save_checkpoint(run.claim, written, keep=[written.epoch])
        self._discard(replaced)
        run.saved = time.monotonic()

    def _write_checkpoint(self, run: Run) -> NewCheckpoint:
        started = time.monotonic()
        checkpoint = run.engine.checkpoint()
        if run.engine.stop_reason is StopReason.DIVERGED and checkpoint.best is not None:
            checkpoint = replace(checkpoint, last=checkpoint.best)  # what came after is not finite
        checkpoint = replace(checkpoint, encoding=run.data.encoding.to_document())
        body = checkpoint.to_bytes()
        artifact = self._storage.artifacts.put(f"checkpoints/{run.job.id}", body)
        run.saving_seconds += time.monotonic() - started
        return NewCheckpoint(checkpoint.last.epoch, artifact, len(body))

    def _finish(self, run: Run, reason: StopReason) -> None:
        """End the job with its last history, its checkpoint and its figures, in one transaction."""
        training_seconds = time.monotonic() - run.started - run.saving_seconds
        diverged = reason is StopReason.DIVERGED
        finite = not diverged or run.engine.best is not None
        checkpoints = [self._write_checkpoint(run)] if finite else []
        outcome = Outcome(
            status=_STATUS.get(reason, JobStatus.SUCCEEDED),
            stop_reason=reason,
            test=None if diverged else self._test(run),
            timings=_json(
                {
                    "queue_seconds": _queue_seconds(run.job),
                    "setup_seconds": run.setup_seconds,
                    "compile_seconds": run.engine.compile_seconds,
                    "training_seconds": training_seconds,
                    "saving_seconds": run.saving_seconds,
                }
            ),
            error=_json(_divergence(run).document(_path(run.job))) if diverged else None,
        )
        keep = [checkpoint.epoch for checkpoint in checkpoints] or None
        replaced = self._storage.claims.finish(
            run.claim, outcome, _progress(run), _rows(run), checkpoints, keep
        )
        self._discard(replaced)

    def _test(self, run: Run) -> str | None:
        """Loss and metrics on the test rows, of the parameters that predictions take by default."""
        part: Part | None = run.data.test
        if part is None:
            return None
        stopping = run.engine.parts.spec.early_stopping
        if stopping is not None and stopping.restore_best:
            run.engine.load_best()
        evaluation = run.engine.evaluate(part)
        return _json({"loss": evaluation.loss, "metrics": evaluation.metrics})

    def _fail(self, job: Job, claim: Claim, error: Exception) -> None:
        ours = (
            error if isinstance(error, FitserveError) else TrainingFailed(f"{type(error).__name__}: {error}")
        )
        outcome = Outcome(JobStatus.FAILED, StopReason.ERROR, error=_json(ours.document(_path(job))))
        try:
            self._storage.claims.finish(claim, outcome)
        except LeaseLost:
            log.warning("claim lost", job_id=job.id, attempt=job.attempt)

    def _discard(self, artifacts: Any) -> None:
        for artifact in artifacts:
            self._storage.artifacts.delete(artifact)


_STATUS = {StopReason.CANCELLED: JobStatus.CANCELLED, StopReason.DIVERGED: JobStatus.FAILED}


def _deadline(run: Run) -> float:
    limit = run.engine.parts.spec.max_runtime_seconds
    return float("inf") if limit is None else run.started + limit


def _note(run: Run, chunk: HistoryChunk) -> None:
    run.pending.append(chunk)
    values = dict(zip(chunk.columns, chunk.values[:, -1].tolist(), strict=True))
    run.latest = epoch_document(chunk.last_epoch, values)


def _rows(run: Run) -> list[HistoryRow]:
    if not run.pending:
        return []
    chunk = HistoryChunk.join(run.pending)
    return [HistoryRow(chunk.first_epoch, chunk.last_epoch, chunk.pack())]


def _progress(run: Run) -> Progress:
    monitor = run.engine.parts.monitor
    best = None
    if monitor is not None and monitor.best_epoch is not None:
        best = _json(epoch_document(monitor.best_epoch, monitor.best))
    return Progress(run.engine.epoch, None if run.latest is None else _json(run.latest), best)


def _path(job: Job) -> str:
    return f"/v1/jobs/{job.id}"


def _queue_seconds(job: Job) -> float:
    return 0.0 if job.started_at is None else (job.started_at - job.created_at).total_seconds()


def _divergence(run: Run) -> TrainingDiverged:
    kept = f" The parameters of epoch {run.engine.best.epoch} are kept." if run.engine.best else ""
    return TrainingDiverged(
        f"The loss of epoch {run.engine.epoch} is not finite.{kept}",
        [FieldError("#/training/optimizer", "Try a smaller `lr`, or set `training.gradient_clip_norm`.")],
    )


def _json(document: Any) -> str:
    return orjson.dumps(document).decode()
