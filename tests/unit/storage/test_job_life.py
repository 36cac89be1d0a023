"""The life cycle of jobs as a state machine: owners and workers act in any order while time passes."""

import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import CheckpointStore, NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, LeaseLost, Progress, Report
from service.storage.database import Database
from service.storage.history import HistoryRow, HistoryStore
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.migrate import migrate
from service.storage.planned_job import PlannedJob
from service.storage.queue import QueueStore
from service.storage.recovery import MAX_WORKERS_LOST, RecoveryStore
from tests.support.records import DONE, OWNER, new_dataset, new_job

LEASE = timedelta(seconds=30)
JULIAN_EPOCH = 2440587.5  # the Julian day of 1970
WORKERS = st.sampled_from(["w1", "w2"])
STEPS_BEFORE_END = 15  # before this no job ends, so that much happens to each
MAX_JOBS = 2  # with more jobs, one is rarely claimed twice


class Clock:
    """The clock of the database, set by the test."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def julian_day(self, _: str) -> float:
        """Replace SQLite's `julianday('now')`."""
        return JULIAN_EPOCH + self.now.timestamp() / 86400


class JobLife(RuleBasedStateMachine):
    """Owners, workers and time as rules; `check_jobs` holds after any sequence of them.

    The bundle `claims` also contains claims with attempt 0, which found no job.
    """

    template: ClassVar[Path]  # a database with tables
    jobs_bundle: Bundle[str] = Bundle("job_ids")
    claims_bundle: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        shutil.copy(self.template, self.folder / "jobs.db")
        self.database = Database(f"sqlite:///{self.folder / 'jobs.db'}")
        event.listen(self.database._engine, "connect", self.prepare)
        self.jobs, self.queue = JobStore(self.database), QueueStore(self.database)
        self.claims, self.recovery = ClaimStore(self.database), RecoveryStore(self.database)
        self.history, self.checkpoints = HistoryStore(self.database), CheckpointStore(self.database)
        self.ids: list[str] = []
        self.versions: dict[str, int] = {}
        self.ended: dict[str, Job] = {}
        self.losses: dict[str, int] = {}
        self.serial = 0
        self.steps = 0

    def prepare(self, connection: sqlite3.Connection, _: object) -> None:
        """Install the clock; don't wait for the disk, since no process is killed here."""
        connection.create_function("julianday", 1, self.clock.julian_day)
        connection.execute("PRAGMA synchronous = OFF")

    def teardown(self) -> None:
        """Delete the database."""
        self.database.close()
        shutil.rmtree(self.folder)

    def holds(self, claim: Claim) -> bool:
        """Return whether a claim is the current one of its job."""
        job = self.jobs.get(OWNER, claim.job_id)
        return job.status is JobStatus.RUNNING and Claim.of(job) == claim

    @initialize(target=jobs_bundle)
    def first_job(self) -> str:
        """Submit the first job, so that `job_ids` is never empty."""
        return self.submit(0)

    @precondition(lambda self: len(self.ids) < MAX_JOBS)
    @rule(target=jobs_bundle, priority=st.integers(-1, 1))
    def submit(self, priority: int) -> str:
        """A submitted job is queued."""
        job, created = self.jobs.submit(OWNER, PlannedJob(new_job(priority=priority), new_dataset()))
        assert created
        assert job.status is JobStatus.QUEUED
        self.ids.append(job.id)
        return job.id

    @rule(target=claims_bundle, worker=WORKERS)
    def claim(self, worker: str) -> Claim:
        """A worker claims the oldest queued job of the highest priority, at the epoch of its checkpoint."""
        waiting = [job for job in map(self.get, self.ids) if job.status is JobStatus.QUEUED]
        job = self.claims.claim(worker, ["cpu"], LEASE.total_seconds())
        if job is None:
            assert not waiting
            return Claim("none", worker, 0)
        assert job.id == min(waiting, key=lambda each: (-each.priority, each.sequence)).id
        newest = [checkpoint.epoch for checkpoint in self.checkpoints.of_job(OWNER, job.id)]
        assert job.epoch == max(newest, default=0)
        return Claim.of(job)

    @rule(target=claims_bundle, claim=claims_bundle)
    def claim_companions(self, claim: Claim) -> MultipleResults[Claim]:
        """A claim gets companions: queued jobs submitted later, with equal priority and no attempt."""
        if not (claim.attempt and self.holds(claim)):
            return multiple()
        first = self.get(claim.job_id)
        later = [job for job in map(self.get, self.ids) if job.sequence > first.sequence]
        waiting = [job for job in later if job.status is JobStatus.QUEUED]
        alike = [job.id for job in waiting if (job.priority, job.attempt) == (first.priority, 0)]
        claimed = self.claims.claim_alike(first, MAX_JOBS, LEASE.total_seconds())
        assert [job.id for job in claimed] == alike
        return multiple(*map(Claim.of, claimed))

    @rule(claim=claims_bundle, epochs=st.integers(1, 3))
    def record(self, claim: Claim, epochs: int) -> None:
        """A current claim adds to the history of its job; any other is lost."""
        if claim.attempt and self.holds(claim):
            epoch = self.get(claim.job_id).epoch
            rows = [HistoryRow(epoch + 1, epoch + epochs, b"x")]
            self.claims.record(Report(claim, Progress(epoch + epochs), rows))
        else:
            with pytest.raises(LeaseLost):
                self.claims.record(Report(claim, Progress(99), [HistoryRow(99, 99, b"stale")]))

    @rule(claim=claims_bundle, step=st.integers(0, 2))
    def save(self, claim: Claim, step: int) -> None:
        """A current claim saves a checkpoint, which replaces the one before; any other claim is lost."""
        self.serial += 1
        if claim.attempt and self.holds(claim):
            job = self.get(claim.job_id)
            saved = [(each.epoch, each.step) for each in self.checkpoints.of_job(OWNER, job.id)]
            position = (job.epoch, step)
            if position >= max(saved, default=(0, 0)):  # a training never goes back
                checkpoint = NewCheckpoint(job.epoch, f"a{self.serial}", 1, step)
                self.claims.save_checkpoint(claim, checkpoint, keep=[])
                assert len(self.checkpoints.of_job(OWNER, job.id)) == 1
                if position > max(saved, default=(-1, 0)):
                    self.losses[job.id] = 0  # progress resets the number of lost workers
        else:
            with pytest.raises(LeaseLost):
                self.claims.save_checkpoint(claim, NewCheckpoint(99, "stale", 1))

    @precondition(lambda self: self.steps > STEPS_BEFORE_END)
    @rule(claim=claims_bundle)
    def finish(self, claim: Claim) -> None:
        """A current claim ends its job; any other is lost."""
        if claim.attempt and self.holds(claim):
            self.claims.finish(Ending(claim, DONE))
            assert self.get(claim.job_id).status is JobStatus.SUCCEEDED
        else:
            with pytest.raises(LeaseLost):
                self.claims.finish(Ending(claim, DONE))

    @precondition(lambda self: self.steps > STEPS_BEFORE_END)
    @rule(first=claims_bundle, second=claims_bundle)
    def finish_both(self, first: Claim, second: Claim) -> None:
        """Jobs end together, or none of them if one claim is lost."""
        if first.job_id == second.job_id:
            return
        before = [self.get(job_id) for job_id in self.ids]
        if first.attempt and second.attempt and self.holds(first) and self.holds(second):
            self.claims.finish(Ending(first, DONE), Ending(second, DONE))
            assert self.get(first.job_id).status is self.get(second.job_id).status is JobStatus.SUCCEEDED
        else:
            with pytest.raises(LeaseLost):
                self.claims.finish(Ending(first, DONE), Ending(second, DONE))
            assert [self.get(job_id) for job_id in self.ids] == before

    @precondition(lambda self: self.steps > STEPS_BEFORE_END)
    @rule(worker=WORKERS, job_id=jobs_bundle)
    def overrun(self, worker: str, job_id: str) -> None:
        """A job over its runtime limit succeeds with a checkpoint and fails without; no other job changes."""
        before = {other: self.get(other) for other in self.ids}
        held = before[job_id].status is JobStatus.RUNNING and before[job_id].worker_id == worker
        assert self.recovery.overrun(worker, job_id) == [job_id] * held
        if held:
            saved = self.checkpoints.of_job(OWNER, job_id)
            job = self.get(job_id)
            assert job.status is (JobStatus.SUCCEEDED if saved else JobStatus.FAILED)
            assert job.stop_reason is StopReason.MAX_RUNTIME
            del before[job_id]
        assert {other: self.get(other) for other in before} == before

    @rule(claim=claims_bundle)
    def release(self, claim: Claim) -> None:
        """A current claim releases its job, which is not counted as a lost worker."""
        if claim.attempt and self.holds(claim):
            before = self.get(claim.job_id)
            self.claims.release(claim)
            self.assert_reclaimed(before, lost=False)
        else:
            with pytest.raises(LeaseLost):
                self.claims.release(claim)

    @rule(worker=WORKERS)
    def worker_dies(self, worker: str) -> None:
        """All jobs of a dead worker are reclaimed."""
        held = [job for job in map(self.get, self.ids) if job.worker_id == worker and not job.status.ended]
        assert set(self.recovery.release_workers([worker], "It died.")) == {job.id for job in held}
        for job in held:
            self.assert_reclaimed(job, lost=True)

    @rule(claim=claims_bundle)
    def heartbeat(self, claim: Claim) -> None:
        """A heartbeat renews the lease of a current claim and of no other."""
        renewed = self.claims.renew([claim], LEASE.total_seconds())
        assert (claim in renewed) == bool(claim.attempt and self.holds(claim))
        if renewed:
            job = self.get(claim.job_id)
            assert job.lease_expires_at is not None
            assert abs(job.lease_expires_at - self.clock.now - LEASE) < timedelta(seconds=1)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        """Jobs with an expired lease are reclaimed, and no others."""
        self.clock.now += timedelta(seconds=seconds)
        running = [job for job in map(self.get, self.ids) if job.status is JobStatus.RUNNING]
        expired = [job for job in running if job.lease_expires_at and job.lease_expires_at < self.clock.now]
        assert set(self.recovery.expire()) == {job.id for job in expired}
        for job in expired:
            self.assert_reclaimed(job, lost=True)

    @precondition(lambda self: self.steps > STEPS_BEFORE_END)
    @rule(job_id=jobs_bundle)
    def cancel(self, job_id: str) -> None:
        """Cancelling ends a job that is not running, signals a running one and leaves an ended one alone."""
        before = self.get(job_id)
        after = self.jobs.cancel(OWNER, job_id)
        if before.status.ended:
            assert after == before
        elif before.status is JobStatus.RUNNING:
            assert (after.status, after.cancel_requested) == (JobStatus.RUNNING, True)
        else:
            assert after.status is JobStatus.CANCELLED

    @rule(job_id=jobs_bundle)
    def pause(self, job_id: str) -> None:
        """Pausing pauses a queued job, signals a running one and is an error for any other."""
        before = self.get(job_id)
        if before.status in (JobStatus.QUEUED, JobStatus.RUNNING):
            after = self.jobs.pause(OWNER, job_id)
            paused = after.status is JobStatus.PAUSED
            assert paused == (before.status is JobStatus.QUEUED)
            assert after.pause_requested != paused
        else:
            with pytest.raises(errors.JobNotRunning):
                self.jobs.pause(OWNER, job_id)

    @rule(job_id=jobs_bundle)
    def resume(self, job_id: str) -> None:
        """Resuming queues a paused job, withdraws a requested pause and is an error for any other job."""
        before = self.get(job_id)
        if before.status is JobStatus.PAUSED or before.pause_requested:
            after = self.jobs.resume(OWNER, job_id)
            expected = JobStatus.QUEUED if before.status is JobStatus.PAUSED else JobStatus.RUNNING
            assert (after.status, after.pause_requested) == (expected, False)
        else:
            with pytest.raises(errors.JobNotPaused):
                self.jobs.resume(OWNER, job_id)

    def get(self, job_id: str) -> Job:
        """Read a job."""
        return self.jobs.get(OWNER, job_id)

    def assert_reclaimed(self, before: Job, lost: bool) -> None:
        """Assert the status of a job after its worker was lost or has released it."""
        losses = self.losses[before.id] = self.losses.get(before.id, 0) + lost
        after = self.get(before.id)
        if before.cancel_requested:
            expected = JobStatus.CANCELLED
        elif losses >= MAX_WORKERS_LOST:
            expected = JobStatus.FAILED
        else:
            expected = JobStatus.PAUSED if before.pause_requested else JobStatus.QUEUED
        assert after.status is expected
        assert (after.error is not None) == (expected is JobStatus.FAILED)

    @invariant()
    def check_jobs(self) -> None:
        """Versions grow, ended jobs stay unchanged, histories are complete, and running jobs have leases."""
        self.steps += 1
        waiting = [job for job in map(self.get, self.ids) if job.status is JobStatus.QUEUED]
        assert self.queue.lengths() == ({"cpu": len(waiting)} if waiting else {})
        for job in map(self.get, self.ids):
            assert job.version >= self.versions.get(job.id, 0)
            self.versions[job.id] = job.version
            if job.status.ended:
                assert job == self.ended.setdefault(job.id, job)
                assert (job.stop_reason is not None, job.finished_at is not None) == (True, True)
            else:
                assert job.id not in self.ended
                assert (job.stop_reason, job.finished_at) == (None, None)
            running = job.status is JobStatus.RUNNING
            assert (job.lease_expires_at is not None) == running
            assert not job.pause_requested or running
            rows = self.history.rows(job.id)
            recorded = [epoch for row in rows for epoch in range(row.first_epoch, row.last_epoch + 1)]
            assert recorded == list(range(1, len(recorded) + 1))
            assert len(recorded) == job.epoch


def test_the_life_of_jobs(tmp_path: Path) -> None:
    """No sequence of actions of owners and workers violates the invariants of jobs."""
    JobLife.template = tmp_path / "template.db"
    database = Database(f"sqlite:///{JobLife.template}")
    migrate(database)
    database.close()
    options = settings(max_examples=20, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(JobLife, settings=options)
