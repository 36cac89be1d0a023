"""Claim jobs, load their data and models, and train them to their ends."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

import orjson
import structlog
import torch

from service.architectures.outputs import OutputLayout
from service.datasets.prepare.prepare import Prepared
from service.datasets.prepare.workspace import SpillingWorkspace
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
from service.training.checkpoints import Checkpoint, Tensors
from service.training.construction_seed import construction_seed
from service.training.engines.base import GROUP_SIZES, Engine
from service.training.engines.eager.parallel import FollowingEngine
from service.training.engines.eager.ranks import RankLost, Ranks
from service.training.engines.factory import EngineFactory
from service.training.loop import train
from service.training.out_of_memory import describe, is_out_of_memory
from service.training.parameter_files import read_file
from service.worker.attempt import Attempt, LoadedJob
from service.worker.batching import Batcher
from service.worker.group import train_group
from service.worker.messages import Assist
from service.worker.parallel import LOST, assisting, leading
from service.worker.recorder import RETRY_SECONDS, Recorder
from service.worker.supervisor import Supervisor

log = structlog.get_logger()

T = TypeVar("T")

MAX_GROUP_SIZE = GROUP_SIZES[-1]
# With fewer companions, a group is not worth the compilation of its program.
MIN_COMPANIONS = 7
# Limit of the memory that the members of a group take together.
GROUP_BYTES = 2**30


class Runner:
    """Claims jobs and trains them, one after the other or in groups.

    Args:
        worker_id: Id of the worker that claims.
        device: Device to train on.
        settings: Limits and intervals.
        storage: The database and the artifact store.
        supervisor: Receives signals; its `stopping` event makes the runner release its jobs.
    """

    def __init__(
        self,
        worker_id: str,
        device: torch.device,
        settings: Settings,
        storage: Storage,
        supervisor: Supervisor,
    ) -> None:
        self._worker_id = worker_id
        self._device = device
        self._settings = settings
        self._storage = storage
        self._supervisor = supervisor
        self._recorder = Recorder(settings, storage, supervisor)
        self._engines = EngineFactory(device, settings.threads_per_worker, settings.compiled())
        self._held: Sequence[Claim] = ()
        self._could_not_read = False  # a job was released because its data was unavailable
        self._claim_is_uncertain = False  # a claim was sent to the database and not answered
        self._batcher = Batcher(supervisor.stopping.wait)

    def run_next(self, processes: int = 1) -> bool:
        """Claim and train a job for the device, or a group of them; return False when none is queued.

        Args:
            processes: Number of workers that wait to train the job together, this one included.

        Raises:
            Unavailable: The database is unavailable, or the artifacts are after a job was released for it.
        """
        if self._could_not_read:
            self._storage.artifacts.ping()  # as long as this fails, other workers have the jobs
            self._could_not_read = False
        queues = {str(self._device), self._device.type}
        claims, lease_seconds = self._storage.claims, self._settings.lease_seconds
        job = self._claimed(lambda: claims.claim(self._worker_id, queues, lease_seconds, processes))
        if job is None:
            return False
        self._held = [Claim.of(job)]
        self._supervisor.job_started(job.id)
        log.info("job started", job_id=job.id, attempt=job.attempt, device=str(self._device))
        try:
            self._run(job, job.process_count(processes))
        except LeaseLost:
            log.warning("claim lost", job_id=job.id, attempt=job.attempt)
        except Unavailable as error:  # the process is stopping: its supervisor releases the job
            log.warning("job left to the supervisor", job_id=job.id, reason=error.detail)
        finally:
            held, self._held = self._held, ()
            for claim in held:
                self._supervisor.job_changed(claim.job_id)
            torch.cuda.empty_cache()  # JAX and graphs cannot use what PyTorch caches; no-op without CUDA
        return True

    def _claimed(self, claim: Callable[[], T]) -> T:
        """Call `claim`, after releasing the jobs of an earlier claim whose answer was lost.

        Such jobs don't count as lost by a worker.
        """
        if self._claim_is_uncertain:
            for job_id in self._storage.recovery.release_workers([self._worker_id]):
                self._supervisor.job_changed(job_id)
        self._claim_is_uncertain = True
        claimed = claim()
        self._claim_is_uncertain = False
        return claimed

    def warm_up(self) -> Iterator[None]:
        """Prepare for the first job, one part per iteration."""
        return self._engines.warm_up()

    def renew(self) -> None:
        """Extend the leases of the claims at hand. Called by the heartbeat's thread."""
        held = self._held  # read once: the main thread replaces it
        if held:
            self._storage.claims.renew(held, self._settings.lease_seconds)

    def assist(self, order: Assist) -> None:
        """Train a job that another worker has claimed, together with it."""
        device, settings, rendezvous = self._device, self._settings, order.rendezvous
        with assisting(
            rendezvous, order.rank, device, settings, lambda error: self._failure(error, None)
        ) as ranks:
            job = self._storage.jobs.get(rendezvous.owner, rendezvous.job_id)
            engine = FollowingEngine(self._load(job).components, ranks)
            self._restore(engine, job)
            engine.follow()
        _free_memory()

    def _run(self, job: Job, processes: int) -> None:
        claim, attempt = Claim.of(job), None
        try:
            with self._ranks(job, processes) as ranks:
                loaded = self._load(job)
                companions = self._claim_companions(loaded)
                if companions:
                    return self._run_group(loaded, companions)
                attempt, engine = self._start(loaded, ranks)
                try:
                    reason = self._train(attempt, engine)
                finally:
                    self._supervisor.training_suspended()
                if reason is None:
                    self._recorder.save_and_release(attempt)
                else:
                    self._recorder.finish(attempt, reason)
        except LeaseLost:
            raise
        except RankLost as error:
            log.warning("job released", job_id=job.id, reason=str(error))
            self._recorder.release(claim, LOST, lost=True)
        except Unavailable as error:  # the job is not to blame
            log.warning("job released", job_id=job.id, reason=error.detail)
            self._recorder.release(claim, error.detail)
            self._could_not_read = True
            # The job keeps its position in the queue: without a pause it would be claimed again at once.
            self._supervisor.stopping.wait(RETRY_SECONDS)
        except Exception as error:  # any error is the job's own: report it and go on with the next job
            log.exception("job failed", job_id=job.id)
            self._recorder.fail(claim, self._failure(error, attempt), attempt)
            del attempt, error  # the traceback refers to the model: delete both to free its memory
            _free_memory()

    @contextmanager
    def _ranks(self, job: Job, count: int) -> Iterator[Ranks | None]:
        """Wait for the other processes of a job; None for a job of a single one."""
        if job.processes == 1:
            yield None
            return
        with leading(job, count, self._device, self._settings, self._supervisor) as ranks:
            self._supervisor.making_progress()
            yield ranks

    def _claim_companions(self, first: LoadedJob) -> Sequence[Job]:
        """Claim jobs that can train in a group with the first; none if too few are queued."""
        spec = first.components.spec
        alone = first.job.attempt > 1 or spec.from_job or spec.checkpoint_every or not spec.epochs
        if alone or not first.compiled:
            return []
        fitting = GROUP_BYTES // (first.job.memory_estimate_bytes + 2 * first.data_bytes)
        limit = min(MAX_GROUP_SIZE, fitting) - 1
        if limit < MIN_COMPANIONS:
            return []
        claims = self._storage.claims
        count = partial(claims.count_alike, first.job, limit)
        if self._batcher.count_companions(first.job.group_key, count, limit) < MIN_COMPANIONS:
            return []
        jobs = self._claimed(lambda: claims.claim_alike(first.job, limit, self._settings.lease_seconds))
        self._held = [*self._held, *map(Claim.of, jobs)]
        for job in jobs:
            self._supervisor.job_changed(job.id)
        return jobs

    def _run_group(self, first: LoadedJob, companions: Sequence[Job]) -> None:
        """Train a group. If it fails, its jobs are released, and attempt one by one at their next attempt."""
        try:
            loaded = [first, *(self._load(job, first) for job in companions)]
            members = self._release_mismatches(loaded)
            group = self._engines.make_group([member.components for member in members])
            log.info("jobs train together", job_ids=[member.job.id for member in members])
            attempts = [
                Attempt(member.job, Claim.of(member.job), training, member.data, member.seconds)
                for member, training in zip(members, group.members, strict=True)
            ]
            train_group(attempts, group, self._recorder, self._supervisor)
            self._batcher.group_ended(first.job.group_key)
        except Exception as error:  # of any member: its next attempt, alone, shows whose error it is
            log.exception("group failed, jobs attempt one by one", job_ids=[c.job_id for c in self._held])
            reason = f"The group that it trained in failed ({error}). Its next attempt runs alone."
            self._supervisor.training_suspended()
            for claim in self._held:
                with suppress(LeaseLost):  # it has ended or was reclaimed
                    self._recorder.release(claim, reason)
            _free_memory()

    def _release_mismatches(self, loaded: Sequence[LoadedJob]) -> Sequence[LoadedJob]:
        """Release the jobs that need another program than the first; return the others.

        The queue compares jobs before their data is loaded, so that it can miss a difference.
        """
        keys = [each.components.program_key for each in loaded]
        members = []
        for each, key in zip(loaded, keys, strict=True):
            if key == keys[0]:
                members.append(each)
                continue
            claim = Claim.of(each.job)
            with suppress(LeaseLost):  # it was reclaimed
                self._recorder.release(
                    claim, "It needs another program than the group that it was claimed for."
                )
            self._held = [held for held in self._held if held != claim]
            self._supervisor.job_changed(each.job.id)
        return members

    def _train(self, attempt: Attempt, engine: Engine) -> StopReason | None:
        """Train until the job must end; return why, or None if it must be released instead."""
        checkpoint_every = engine.components.spec.checkpoint_every
        self._supervisor.training_started(attempt.job.id, attempt.seconds_left)
        for chunk in train(engine, checkpoint_every):
            if chunk is not None:
                attempt.add_history(chunk)
            if engine.stop_reason is not None:
                break
            if self._supervisor.stopping.is_set():
                return None
            if self._recorder.is_record_due(attempt.recorded):
                with self._time_limit_suspended(attempt):
                    signals = self._recorder.record(attempt)
                if signals.cancel_requested:
                    return StopReason.CANCELLED
                if signals.pause_requested:
                    return None
            if attempt.seconds_left <= 0:
                return StopReason.MAX_RUNTIME
            at_multiple = bool(checkpoint_every and chunk and chunk.last_epoch % checkpoint_every == 0)
            if at_multiple or self._recorder.is_save_due(attempt):
                with self._time_limit_suspended(attempt):
                    self._recorder.save(attempt)
        return engine.stop_reason or StopReason.COMPLETED

    @contextmanager
    def _time_limit_suspended(self, attempt: Attempt) -> Iterator[None]:
        """Suspend the limit of `max_runtime_seconds` while the block writes or waits for a lock."""
        has_limit = math.isfinite(attempt.seconds_left)
        if has_limit:
            self._supervisor.training_suspended()
        yield
        if has_limit:
            self._supervisor.training_started(attempt.job.id, attempt.seconds_left)

    def _load(self, job: Job, alike: LoadedJob | None = None) -> LoadedJob:
        """Load the data of a claimed job and build its model.

        Args:
            job: The claimed job.
            alike: A loaded job of the same group key, whose data is reused if it is the same.

        Raises:
            DataNotPrepared: The data did not fit on the disk for `storage_patience_seconds`.
        """
        started = time.monotonic()
        request = orjson.loads(job.request)
        used = orjson.loads(job.used)
        torch.set_num_threads(
            used["threads"]
        )  # before transforms are fitted: sums depend on it in their last bits
        training = TrainingSpec.model_validate(request["training"])
        architecture = read_architecture(request["architecture"])
        data = alike.data if alike is not None and alike.has_data_of(job) else self._prepare(job)
        report = orjson.loads(job.report)
        components = assemble(
            architecture,
            training,
            data,
            OutputLayout.from_report(architecture, report),
            self._device,
            request["precision"],
            self._initial_parameters(job, training),
            construction_seed(request, report),
        )
        self._supervisor.making_progress()
        return LoadedJob(job, components, data, used["engine"], time.monotonic() - started)

    def _initial_parameters(self, job: Job, training: TrainingSpec) -> Tensors | None:
        """Read the parameter set that a job starts with; None if it names none."""
        if training.initial_parameters is None:
            return None
        chosen = training.initial_parameters

        def read() -> Tensors:
            artifact = self._storage.parameter_sets.get(job.owner, chosen).artifact
            return self._storage.artifacts.load(artifact, read_file)

        # As for data: parameters that this worker can't read are left to another one.
        return self._recorder.retry_briefly(Claim.of(job), read, Unavailable)

    def _prepare(self, job: Job) -> Prepared:
        """Prepare the tensors that a job trains on."""
        claim = Claim.of(job)
        workspace = SpillingWorkspace(self._settings.scratch(), self._settings.in_memory_bytes)
        # Data that this worker can't read is left to another one, which may be able to.
        data = self._recorder.retry_briefly(claim, lambda: JobData.of(job, self._storage), Unavailable)
        prepared = self._recorder.retry_briefly(claim, lambda: data.prepare(workspace), DataNotPrepared)
        self._supervisor.making_progress()
        return prepared

    def _start(self, loaded: LoadedJob, ranks: Ranks | None) -> tuple[Attempt, Engine]:
        """Make the engine of a job, at the checkpoint of an earlier attempt if it has one."""
        started, job = time.monotonic(), loaded.job
        # Capturing may have killed the earlier worker: do without it.
        engine = self._engines.make(loaded.engine, loaded.components, job.workers_lost == 0, ranks)
        self._supervisor.making_progress()
        self._restore(engine, job)
        seconds = loaded.seconds + time.monotonic() - started - engine.compile_seconds
        attempt = Attempt(job, Claim.of(job), engine, loaded.data, seconds, engine.epoch)
        return attempt, engine

    def _restore(self, engine: Engine, job: Job) -> None:
        """Continue at the newest checkpoint of an earlier attempt, if there is one."""
        saved = self._storage.checkpoints.of_job(job.owner, job.id)
        if saved:
            newest = saved[-1]
            engine.restore(Checkpoint.from_bytes(self._storage.artifacts.get(newest.artifact)))
            log.info("job resumed", job_id=job.id, epoch=newest.epoch, step=newest.step, attempt=job.attempt)

    def _failure(self, error: Exception, attempt: Attempt | None) -> FitserveError:
        """Return the error as the job's owner gets it."""
        if isinstance(error, FitserveError):
            return error
        if not is_out_of_memory(error):
            return TrainingFailed(f"{type(error).__name__}: {error}")
        limit = f"A job may take {self._settings.worker_memory_bytes / GIB:.1f} GiB."
        if attempt is None:
            return OutOfMemory(f"{describe(error, None)}, and there is no more. {limit}")
        components = attempt.engine.components
        rows = components.batches.size
        detail = f"{describe(error, components.model)} for a batch of {rows}, and there is no more. {limit}"
        remedy = f"Try a smaller batch than {rows}, or a smaller model."
        return OutOfMemory(detail, [FieldError("#/training/batch_size", remedy)])


def _free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # no-op if CUDA was never used
