"""The life of jobs as a state machine: owners and workers act in any order, and time passes as it likes."""

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
from service.storage.claims import Claim, ClaimStore, Ending, LeaseLost, Outcome, Progress, Report
from service.storage.database import Database
from service.storage.history import HistoryRow, HistoryStore
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.migrate import migrate
from service.storage.queue import QueueStore
from service.storage.recovery import MAX_WORKERS_LOST, RecoveryStore
from tests.support.records import OWNER, new_dataset, new_job

LEASE = timedelta(seconds=30)
JULIAN_EPOCH = 2440587.5  # the Julian day of 1970
WORKERS = st.sampled_from(["w1", "w2"])
YOUTH = 15  # steps before the first job may end: much happens to it until then
MOST_JOBS = 2  # more would hardly ever be claimed twice
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED)


class Clock:
    """The database's clock, which the test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def julian_day(self, _: str) -> float:
        """What SQLite's `julianday('now')` is to give."""
        return JULIAN_EPOCH + self.now.timestamp() / 86400


class JobLife(RuleBasedStateMachine):
    """Whatever happens, in whatever order, a job ends once and its history has no gap."""

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
        """Set the clock, and don't wait for the disk: nothing is killed here."""
        connection.create_function("julianday", 1, self.clock.julian_day)
        connection.execute("PRAGMA synchronous = OFF")

    def teardown(self) -> None:
        """Leave nothing."""
        self.database.close()
        shutil.rmtree(self.folder)

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is its job's present one."""
        job = self.jobs.get(OWNER, claim.job_id)
        return job.status is JobStatus.RUNNING and Claim.of(job) == claim

    @initialize(target=jobs_bundle)
    def first_job(self) -> str:
        """There is always a job."""
        return self.submit(0)

    @precondition(lambda self: len(self.ids) < MOST_JOBS)
    @rule(target=jobs_bundle, priority=st.integers(-1, 1))
    def submit(self, priority: int) -> str:
        """A job comes in, and is queued."""
        job, created = self.jobs.submit(OWNER, new_job(priority=priority), new_dataset())
        assert created
        assert job.status is JobStatus.QUEUED
        self.ids.append(job.id)
        return job.id

    @rule(target=claims_bundle, worker=WORKERS)
    def claim(self, worker: str) -> Claim:
        """A worker gets the job of the highest priority that came first, from its newest checkpoint on."""
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
        """Who holds a job gets those that train beside it: later, as urgent, and tried by nobody yet."""
        if not (claim.attempt and self.holds(claim)):
            return multiple()
        first = self.get(claim.job_id)
        later = [job for job in map(self.get, self.ids) if job.sequence > first.sequence]
        waiting = [job for job in later if job.status is JobStatus.QUEUED]
        alike = [job.id for job in waiting if (job.priority, job.attempt) == (first.priority, 0)]
        taken = self.claims.claim_alike(first, MOST_JOBS, LEASE.total_seconds())
        assert [job.id for job in taken] == alike
        return multiple(*map(Claim.of, taken))

    @rule(claim=claims_bundle, epochs=st.integers(1, 3))
    def record(self, claim: Claim, epochs: int) -> None:
        """Who holds a job adds to its history; nobody else does."""
        if claim.attempt and self.holds(claim):
            epoch = self.get(claim.job_id).epoch
            rows = [HistoryRow(epoch + 1, epoch + epochs, b"x")]
            self.claims.record(Report(claim, Progress(epoch + epochs), rows))
        else:
            with pytest.raises(LeaseLost):
                self.claims.record(Report(claim, Progress(99), [HistoryRow(99, 99, b"stale")]))

    @rule(claim=claims_bundle, step=st.integers(0, 2))
    def save(self, claim: Claim, step: int) -> None:
        """Who holds a job saves it."""
        self.serial += 1
        if claim.attempt and self.holds(claim):
            job = self.get(claim.job_id)
            saved = [(each.epoch, each.step) for each in self.checkpoints.of_job(OWNER, job.id)]
            place = (job.epoch, step)
            if place >= max(saved, default=(0, 0)):  # a training never goes back
                checkpoint = NewCheckpoint(job.epoch, f"a{self.serial}", 1, step)
                self.claims.save_checkpoint(claim, checkpoint, keep=[])
                assert len(self.checkpoints.of_job(OWNER, job.id)) == 1
                if place > max(saved, default=(-1, 0)):
                    self.losses[job.id] = 0
        else:
            with pytest.raises(LeaseLost):
                self.claims.save_checkpoint(claim, NewCheckpoint(99, "stale", 1))

    @precondition(lambda self: self.steps > YOUTH)
    @rule(claim=claims_bundle)
    def finish(self, claim: Claim) -> None:
        """Who holds a job ends it; nobody else does."""
        if claim.attempt and self.holds(claim):
            self.claims.finish(Ending(claim, DONE))
            assert self.get(claim.job_id).status is JobStatus.SUCCEEDED
        else:
            with pytest.raises(LeaseLost):
                self.claims.finish(Ending(claim, DONE))

    @precondition(lambda self: self.steps > YOUTH)
    @rule(first=claims_bundle, second=claims_bundle)
    def finish_both(self, first: Claim, second: Claim) -> None:
        """Jobs that end together end all, or none where one of them is another's by now."""
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

    @precondition(lambda self: self.steps > YOUTH)
    @rule(worker=WORKERS, job_id=jobs_bundle)
    def overrun(self, worker: str, job_id: str) -> None:
        """The job whose time is over ends with its checkpoint, or has failed; its worker's others stay."""
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
    def give_back(self, claim: Claim) -> None:
        """Who holds a job may give it back; it is no loss."""
        if claim.attempt and self.holds(claim):
            before = self.get(claim.job_id)
            self.claims.release(claim)
            self.assert_taken_back(before, lost=False)
        else:
            with pytest.raises(LeaseLost):
                self.claims.release(claim)

    @rule(worker=WORKERS)
    def worker_dies(self, worker: str) -> None:
        """What a dead worker held is taken back."""
        held = [job for job in map(self.get, self.ids) if job.worker_id == worker and not job.status.ended]
        assert set(self.recovery.release_workers([worker], "It died.")) == {job.id for job in held}
        for job in held:
            self.assert_taken_back(job, lost=True)

    @rule(claim=claims_bundle)
    def heartbeat(self, claim: Claim) -> None:
        """A heartbeat tells who still holds a job, and extends its lease."""
        renewed = self.claims.renew([claim], LEASE.total_seconds())
        assert (claim in renewed) == bool(claim.attempt and self.holds(claim))
        if renewed:
            job = self.get(claim.job_id)
            assert job.lease_expires_at is not None
            assert abs(job.lease_expires_at - self.clock.now - LEASE) < timedelta(seconds=1)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        """Leases that have run out are taken back, and no others."""
        self.clock.now += timedelta(seconds=seconds)
        running = [job for job in map(self.get, self.ids) if job.status is JobStatus.RUNNING]
        late = [job for job in running if job.lease_expires_at and job.lease_expires_at < self.clock.now]
        assert set(self.recovery.expire()) == {job.id for job in late}
        for job in late:
            self.assert_taken_back(job, lost=True)

    @precondition(lambda self: self.steps > YOUTH)
    @rule(job_id=jobs_bundle)
    def cancel(self, job_id: str) -> None:
        """A job that doesn't run ends at once; one that runs is asked to; one that has ended stays."""
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
        """A job that waits rests at once; one that runs is asked to; no other can be paused."""
        before = self.get(job_id)
        if before.status in (JobStatus.QUEUED, JobStatus.RUNNING):
            after = self.jobs.pause(OWNER, job_id)
            resting = after.status is JobStatus.PAUSED
            assert resting == (before.status is JobStatus.QUEUED)
            assert after.pause_requested != resting
        else:
            with pytest.raises(errors.JobNotRunning):
                self.jobs.pause(OWNER, job_id)

    @rule(job_id=jobs_bundle)
    def resume(self, job_id: str) -> None:
        """A job that rests waits again; a pause that was asked for is taken back; no other can be resumed."""
        before = self.get(job_id)
        if before.status is JobStatus.PAUSED or before.pause_requested:
            after = self.jobs.resume(OWNER, job_id)
            expected = JobStatus.QUEUED if before.status is JobStatus.PAUSED else JobStatus.RUNNING
            assert (after.status, after.pause_requested) == (expected, False)
        else:
            with pytest.raises(errors.JobNotPaused):
                self.jobs.resume(OWNER, job_id)

    def get(self, job_id: str) -> Job:
        """A job as it is now."""
        return self.jobs.get(OWNER, job_id)

    def assert_taken_back(self, before: Job, lost: bool) -> None:
        """A job is where it belongs after its worker has gone."""
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
    def every_job_is_well(self) -> None:
        """Versions grow, what has ended stays so, history has no gap, leases are where claims are."""
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
            told = [epoch for row in rows for epoch in range(row.first_epoch, row.last_epoch + 1)]
            assert told == list(range(1, len(told) + 1))
            assert len(told) == job.epoch


def test_the_life_of_jobs(tmp_path: Path) -> None:
    """Owners and workers in any order, with time passing as it likes, never break what a job promises."""
    JobLife.template = tmp_path / "template.db"
    database = Database(f"sqlite:///{JobLife.template}")
    migrate(database)
    database.close()
    options = settings(max_examples=50, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(JobLife, settings=options)
