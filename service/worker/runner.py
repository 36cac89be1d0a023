"""From a claimed job to its end: load, train, say when something is to be written."""

import gc
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

import orjson
import structlog
import torch

from service.datasets.prepare.prepare import Prepared
from service.datasets.prepare.workspace import MappedBeyond
from service.errors import (
    DataNotPrepared,
    FieldError,
    FitserveError,
    OutOfMemory,
    TrainingFailed,
    Unavailable,
)
from service.jobs.data import JobData
from service.settings import GIB, Settings
from service.specs.architecture import read_architecture
from service.specs.job import StopReason
from service.specs.training import TrainingSpec
from service.storage.claims import Claim, LeaseLost
from service.storage.job_record import Job
from service.storage.storage import Storage
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.engines.base import GROUP_SIZES, Engine
from service.training.engines.factory import Engines
from service.training.loop import train
from service.training.out_of_memory import describe, is_out_of_memory
from service.worker.attempt import Ready, Run
from service.worker.batching import Gathering
from service.worker.group import train_together
from service.worker.recorder import RETRY_SECONDS, Recorder

log = structlog.get_logger()

T = TypeVar("T")

# Jobs in one program; fewer than so many would not be worth its compilation.
MOST_TOGETHER = GROUP_SIZES[-1]
LEAST_COMPANIONS = 7
GROUP_BYTES = 2**30


class Runner:
    """Claims jobs and trains them, one after the other, or many of a kind side by side.

    Args:
        worker_id: under which name to claim.
        device: for which one.
        stopping: set when the job at hand is to be given back.
        wanted: set when a job's owner wants something of it.
        on_begin: called with a job's id when it is claimed; again with the first one's when its group goes on
            without those that were cancelled.
        on_change: called with a job's id whenever there may be something new about it.
        on_limit: called with a job's id and the seconds for which it may train from now on; infinity:
            what it is at now is not training.
    """

    def __init__(
        self,
        worker_id: str,
        device: torch.device,
        settings: Settings,
        storage: Storage,
        stopping: threading.Event,
        wanted: threading.Event,
        on_begin: Callable[[str], None],
        on_change: Callable[[str], None],
        on_limit: Callable[[str, float], None],
    ) -> None:
        self._worker_id = worker_id
        self._device = device
        self._settings = settings
        self._storage = storage
        self._stopping = stopping
        self._on_begin = on_begin
        self._on_change = on_change
        self._on_limit = on_limit
        self._recorder = Recorder(settings, storage, stopping, wanted, on_change)
        self._engines = Engines(device, settings.threads_per_worker, settings.compiled())
        self._held: Sequence[Claim] = ()
        self._may_hold_more = False  # a claim was sent to the database, and no answer came
        self._gathering = Gathering(stopping.wait)

    def run_next(self) -> bool:
        """Claim a job for the device, or many of a kind, and see to their end; False when none is queued.

        Raises:
            Unavailable: the database is away.
        """
        queues = {str(self._device), self._device.type}
        claims, lease_seconds = self._storage.claims, self._settings.lease_seconds
        job = self._claimed(lambda: claims.claim(self._worker_id, queues, lease_seconds))
        if job is None:
            return False
        self._held = [Claim.of(job)]
        self._on_begin(job.id)
        try:
            self._run(job)
        except LeaseLost:
            log.warning("claim lost", job_id=job.id, attempt=job.attempt)
        except Unavailable as error:  # the process is to end: whoever ends it gives the job back
            log.warning("job given up", job_id=job.id, reason=error.detail)
        finally:
            held, self._held = self._held, ()
            for claim in held:
                self._on_change(claim.job_id)
            torch.cuda.empty_cache()  # graphs and JAX take none of what PyTorch keeps; without CUDA, nothing
        return True

    def _claimed(self, claim: Callable[[], T]) -> T:
        """What a claim gives. What one took whose answer was lost goes back first, without blame."""
        if self._may_hold_more:
            for job_id in self._storage.recovery.release_workers([self._worker_id]):
                self._on_change(job_id)
        self._may_hold_more = True
        taken = claim()
        self._may_hold_more = False
        return taken

    def warm_up(self) -> Iterator[None]:
        """What is better done before the first job than in it, piece by piece."""
        return self._engines.warm_up()

    def renew(self) -> None:
        """Extend the claims at hand; called by the heartbeat's thread."""
        held = self._held
        if held:
            self._storage.claims.renew(held, self._settings.lease_seconds)

    def _run(self, job: Job) -> None:
        claim, run = Claim.of(job), None
        try:
            ready = self._set_up(job)
            companions = self._companions(ready)
            if companions:
                return self._run_together(ready, companions)
            run, engine = self._begin(ready)
            try:
                reason = self._train(run, engine)
            finally:
                self._on_limit(job.id, math.inf)
            if reason is None:
                self._recorder.give_back(run)
            else:
                self._recorder.finish(run, reason)
        except LeaseLost:
            raise
        except Unavailable as error:  # the job is not to blame
            log.warning("job given back", job_id=job.id, reason=error.detail)
            self._recorder.release(claim, error.detail)
            self._stopping.wait(RETRY_SECONDS)  # it keeps its place in the queue, and is the next again
        except Exception as error:  # one bad job harms no other: it ends with the reason
            log.exception("job failed", job_id=job.id)
            self._recorder.fail(claim, self._failure(error, run), run)
            del run, error  # the traceback holds the model: an end to both frees the memory
            _free_memory()

    def _companions(self, ready: Ready) -> Sequence[Job]:
        """Further jobs to train with one in the same program, claimed; none where they are few."""
        components = ready.components
        if (
            not ready.compiled
            or ready.job.attempt > 1
            or components.spec.from_job
            or components.spec.checkpoint_every
        ):
            return []
        fit = GROUP_BYTES // (ready.job.memory_estimate_bytes + 2 * ready.data_bytes)
        most = min(MOST_TOGETHER, fit) - 1
        if most < LEAST_COMPANIONS:
            return []
        claims = self._storage.claims
        count = partial(claims.count_alike, ready.job, most)
        if self._gathering.companions(ready.job.group_key, count, most) < LEAST_COMPANIONS:
            return []
        jobs = self._claimed(lambda: claims.claim_alike(ready.job, most, self._settings.lease_seconds))
        self._held = [*self._held, *map(Claim.of, jobs)]
        return jobs

    def _run_together(self, first: Ready, companions: Sequence[Job]) -> None:
        """Train a group. What goes wrong with it sends its jobs back: tried once, they run one by one."""
        try:
            members = [first, *(self._set_up(job, first) for job in companions)]
            group = self._engines.make_group([ready.components for ready in members])
            log.info("jobs train together", job_ids=[ready.job.id for ready in members])
            runs = [
                Run(ready.job, Claim.of(ready.job), training, ready.data, ready.seconds)
                for ready, training in zip(members, group.members, strict=True)
            ]
            train_together(runs, group, self._recorder, self._stopping, self._on_begin, self._on_limit)
            self._gathering.trained(first.job.group_key)
        except Exception as error:
            log.exception("jobs given back, to run one by one", job_ids=[c.job_id for c in self._held])
            reason = f"What it trained side by side with has failed ({error}): it runs by itself next."
            self._on_limit(first.job.id, math.inf)
            for claim in self._held:
                with suppress(LeaseLost):  # it has ended, or was taken back
                    self._recorder.release(claim, reason)
            _free_memory()

    def _train(self, run: Run, engine: Engine) -> StopReason | None:
        """Train until there is a reason to end the job; None: it is to be given back."""
        checkpoint_every = engine.components.spec.checkpoint_every
        self._on_limit(run.job.id, run.seconds_left)
        for chunk in train(engine, checkpoint_every):
            if chunk is not None:
                run.note(chunk)
            if engine.stop_reason is not None:
                break
            if self._stopping.is_set():
                return None
            if self._recorder.is_record_due(run.recorded):
                with self._untimed(run):
                    signals = self._recorder.record(run)
                if signals.cancel_requested:
                    return StopReason.CANCELLED
                if signals.pause_requested:
                    return None
            if run.seconds_left <= 0:
                return StopReason.MAX_RUNTIME
            at_multiple = bool(checkpoint_every and chunk and chunk.last_epoch % checkpoint_every == 0)
            if at_multiple or self._recorder.is_save_due(run):
                with self._untimed(run):
                    self._recorder.save(run)
        return engine.stop_reason or StopReason.COMPLETED

    @contextmanager
    def _untimed(self, run: Run) -> Iterator[None]:
        """What is written, and waits for a lock perhaps, is no step that its time may end."""
        has_limit = math.isfinite(run.seconds_left)
        if has_limit:
            self._on_limit(run.job.id, math.inf)
        yield
        if has_limit:
            self._on_limit(run.job.id, run.seconds_left)

    def _set_up(self, job: Job, alike: Ready | None = None) -> Ready:
        """A claimed job with its data and its model.

        Args:
            job: it.
            alike: a job of the same kind, which may have the same data.

        Raises:
            DataNotPrepared: there is no room for its data, and has not been for a while.
        """
        started = time.monotonic()
        request = orjson.loads(job.request)
        used = orjson.loads(job.used)
        torch.set_num_threads(used["threads"])  # the bits of what transforms fit depend on it, too
        training = TrainingSpec.model_validate(request["training"])
        architecture = read_architecture(request["architecture"])
        data = alike.data if alike is not None and alike.has_data_of(job) else self._prepare(job)
        components = assemble(
            architecture,
            training,
            data,
            orjson.loads(job.report)["output_width"],
            self._device,
            request["precision"],
        )
        self._on_change(job.id)
        return Ready(job, components, data, used["engine"], time.monotonic() - started)

    def _prepare(self, job: Job) -> Prepared:
        """What a job trains on, as tensors."""
        claim = Claim.of(job)
        workspace = MappedBeyond(self._settings.scratch(), self._settings.in_memory_bytes)
        data = self._recorder.patiently(claim, lambda: JobData.of(job, self._storage))
        prepared = self._recorder.for_a_while(claim, lambda: data.prepare(workspace), DataNotPrepared)
        self._on_change(job.id)  # a sign of life after each part of the way
        return prepared

    def _begin(self, ready: Ready) -> tuple[Run, Engine]:
        """The job with its engine, where an earlier attempt or another job has left off."""
        started, job = time.monotonic(), ready.job
        # A capture that has failed took its worker with it.
        engine = self._engines.make(ready.engine, ready.components, captures=job.workers_lost == 0)
        self._on_change(job.id)
        saved = self._storage.checkpoints.of_job(job.owner, job.id)
        if saved:
            newest = saved[-1]
            engine.restore(Checkpoint.from_bytes(self._storage.artifacts.get(newest.artifact)))
            log.info("job resumed", job_id=job.id, epoch=newest.epoch, step=newest.step, attempt=job.attempt)
        seconds = ready.seconds + time.monotonic() - started - engine.compile_seconds
        return Run(job, Claim.of(job), engine, ready.data, seconds, engine.epoch), engine

    def _failure(self, error: Exception, run: Run | None) -> FitserveError:
        """The error as the job's owner is told it."""
        if isinstance(error, FitserveError):
            return error
        if not is_out_of_memory(error):
            return TrainingFailed(f"{type(error).__name__}: {error}")
        limit = f"A job may take {self._settings.worker_memory_bytes / GIB:.1f} GiB."
        if run is None:
            return OutOfMemory(f"{describe(error, None)}, and there is no more. {limit}")
        components = run.engine.components
        rows = components.batches.size
        detail = f"{describe(error, components.model)} for a batch of {rows}, and there is no more. {limit}"
        remedy = f"Try a smaller batch than {rows}, or a smaller model."
        return OutOfMemory(detail, [FieldError("#/training/batch_size", remedy)])


def _free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # nothing happens where CUDA was never used
