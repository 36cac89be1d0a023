"""From a claimed job to its end: load, train, say when something is to be written."""

import gc
import threading
import time
from collections.abc import Callable, Iterator

import orjson
import structlog
import torch

from service.datasets.workspace import MappedBeyond
from service.errors import FieldError, FitserveError, OutOfMemory, TrainingFailed, Unavailable
from service.jobs.data import JobData
from service.jobs.recorder import Recorder
from service.jobs.run import Run
from service.settings import GIB, Settings
from service.specs.architecture import read_architecture
from service.specs.job import StopReason
from service.specs.training import TrainingSpec
from service.storage.claims import Claim, LeaseLost
from service.storage.job_record import Job
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.training.engines.engines import Engines
from service.training.loop import train
from service.training.memory import describe, is_out_of_memory
from service.training.setup import assemble

log = structlog.get_logger()

# History reaches the database at most this often: a short job is two transactions, its claim and its end.
RECORD_SECONDS = 0.25


class Runner:
    """Claims jobs and trains them, one after the other.

    Args:
        worker_id: under which name to claim.
        stopping: set when the job at hand is to be given back.
        on_change: called with a job's id whenever there may be something new about it.
        on_training: called when training begins, with the seconds it may take.
    """

    def __init__(
        self,
        worker_id: str,
        settings: Settings,
        storage: Storage,
        stopping: threading.Event,
        on_change: Callable[[str], None],
        on_training: Callable[[str, float], None],
    ) -> None:
        self._worker_id = worker_id
        self._settings = settings
        self._storage = storage
        self._stopping = stopping
        self._on_change = on_change
        self._on_training = on_training
        self._recorder = Recorder(settings, storage, stopping, on_change)
        self._engines = Engines(settings.threads_per_worker, settings.compiled())
        self._held: Claim | None = None

    def run_next(self, device: str) -> bool:
        """Claim a job for this device and see it to its end; False when none is queued."""
        queues = {device, device.split(":", maxsplit=1)[0]}
        job = self._storage.claims.claim(self._worker_id, queues, self._settings.lease_seconds)
        if job is None:
            return False
        self._held = Claim.of(job)
        self._on_change(job.id)
        try:
            self._run(job, self._held)
        except LeaseLost:
            log.warning("claim lost", job_id=job.id, attempt=job.attempt)
        except Unavailable as error:  # the process is to end: whoever ends it gives the job back
            log.warning("job given up", job_id=job.id, reason=error.detail)
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
        run = None
        try:
            run = self._set_up(job, claim)
            self._train(run)
        except LeaseLost:
            raise
        except Unavailable as error:  # the job is not to blame
            log.warning("job given back", job_id=job.id, reason=error.detail)
            self._recorder.release(claim)
        except Exception as error:  # one bad job harms no other: it ends with the reason
            log.exception("job failed", job_id=job.id)
            self._recorder.fail(claim, self._failure(error, run), run)
            del run, error  # the traceback holds the model: an end to both frees the memory
            _free_memory()

    def _train(self, run: Run) -> None:
        checkpoint_every = run.engine.parts.spec.checkpoint_every
        self._on_training(run.job.id, run.seconds_left)
        for chunk in train(run.engine, checkpoint_every):
            if chunk is not None:
                run.note(chunk)
            if run.engine.stop_reason is not None:
                break
            if self._stopping.is_set():
                return self._recorder.give_back(run)
            if run.seconds_left <= 0:
                return self._recorder.finish(run, StopReason.MAX_RUNTIME)
            if time.monotonic() - run.recorded >= RECORD_SECONDS:
                signals = self._recorder.record(run)
                if signals.cancel_requested:
                    return self._recorder.finish(run, StopReason.CANCELLED)
                if signals.pause_requested:
                    return self._recorder.give_back(run)
            at_multiple = bool(checkpoint_every and chunk and chunk.last_epoch % checkpoint_every == 0)
            if at_multiple or self._recorder.is_save_due(run):
                self._recorder.save(run)
        self._recorder.finish(run, run.engine.stop_reason or StopReason.COMPLETED)

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
        saved = self._storage.checkpoints.of_job(job.owner, job.id)
        if saved:
            newest = saved[-1]
            engine.restore(Checkpoint.from_bytes(self._storage.artifacts.get(newest.artifact)))
            log.info("job resumed", job_id=job.id, epoch=newest.epoch, step=newest.step, attempt=job.attempt)
        return Run(job, claim, engine, data, time.monotonic() - started - engine.compile_seconds)

    def _failure(self, error: Exception, run: Run | None) -> FitserveError:
        """The error as the job's owner is told it."""
        if isinstance(error, FitserveError):
            return error
        if not is_out_of_memory(error):
            return TrainingFailed(f"{type(error).__name__}: {error}")
        limit = f"A job may take {self._settings.worker_memory_bytes / GIB:.1f} GiB."
        if run is None:
            return OutOfMemory(f"{describe(error, None)} memory than there is. {limit}")
        parts = run.engine.parts
        rows = parts.spec.batch_size or parts.train.rows
        detail = f"{describe(error, parts.model)} for a batch of {rows}, and there is no more. {limit}"
        remedy = f"Try a smaller batch than {rows}, or a smaller model."
        return OutOfMemory(detail, [FieldError("#/training/batch_size", remedy)])


def _free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # nothing happens where CUDA was never used
