"""The store that reclaims jobs, on each database."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import orjson
import pytest
from sqlalchemy import Connection

from service.history import LOSS_COLUMNS, HistoryChunk, epoch_document
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Progress, Report
from service.storage.database import Database
from service.storage.history import HistoryRow, HistoryStore
from service.storage.jobs import JobStore
from service.storage.json_text import json_text
from service.storage.recovery import RecoveryStore
from tests.support.records import LOCK_WAIT_SECONDS, OWNER, Submit, claimed

LOST = "Its process was ended by SIGSEGV."


def test_a_job_with_an_expired_lease_is_queued(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job whose lease has expired is queued at its former position; other jobs keep running."""
    first, second, third = submit(), submit(), submit()
    claimed(claims, lease_seconds=0.01)
    claimed(claims)
    time.sleep(0.05)
    assert recovery.expire() == [first.id]
    assert recovery.expire() == []
    queued = jobs.get(OWNER, first.id)
    assert (queued.status, queued.worker_id, queued.lease_expires_at) == (JobStatus.QUEUED, None, None)
    assert jobs.get(OWNER, second.id).status is JobStatus.RUNNING
    again = claimed(claims)
    assert (again.id, again.attempt) == (first.id, 2)
    assert claimed(claims).id == third.id


def test_the_jobs_of_a_dead_worker_are_reclaimed(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """All running jobs of a dead worker are reclaimed, and no other."""
    mine, other = submit(), submit()
    claimed(claims, "w")
    claimed(claims, "w2")
    assert recovery.release_workers(["w"]) == [mine.id]
    assert jobs.get(OWNER, mine.id).status is JobStatus.QUEUED
    assert jobs.get(OWNER, other.id).status is JobStatus.RUNNING


def test_a_job_that_loses_two_workers_fails(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job that loses a second worker without a newer checkpoint fails, and its problem has the reason."""
    job = submit()
    for _ in range(2):
        assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED
        claimed(claims)
        recovery.release_workers(["w"], LOST)
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (JobStatus.FAILED, StopReason.ERROR)
    assert ended.finished_at is not None
    problem = orjson.loads(ended.error or "")
    assert (problem["type"], problem["instance"]) == ("/problems/worker-lost", f"/v1/jobs/{job.id}")
    assert problem["detail"].endswith(LOST)
    assert claims.claim("w", ["cpu"], 30) is None


def test_progress_and_releases_are_no_failures(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job that saves a newer checkpoint before each loss, or is released, never fails."""
    job = submit()
    for epoch in range(1, 5):
        claims.save_checkpoint(Claim.of(claimed(claims)), NewCheckpoint(epoch, f"a{epoch}", 1))
        recovery.release_workers(["w"], LOST)
        claims.release(Claim.of(claimed(claims)))
    assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED


def test_a_checkpoint_of_the_same_step_is_no_progress(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A second loss at the same step fails the job; one further step counts as progress."""
    job = submit()
    for attempt, step in enumerate((3, 4, 4)):
        claim = Claim.of(claimed(claims))
        claims.save_checkpoint(claim, NewCheckpoint(1, f"a{attempt}", 1, step), keep=[])
        assert recovery.release_workers(["w"], LOST) == [job.id]
    assert jobs.get(OWNER, job.id).status is JobStatus.FAILED


def test_a_job_with_a_cancel_request_ends_when_it_is_reclaimed(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A reclaimed job with a cancel request is cancelled and not queued."""
    job = submit()
    claimed(claims)
    jobs.cancel(OWNER, job.id)
    recovery.release_workers(["w"])
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, StopReason.CANCELLED)
    assert ended.error is None
    assert ended.finished_at is not None


def test_workers_that_end_without_a_reason_are_not_counted(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """Workers that end without a reason, for instance at a shutdown, are not counted as lost."""
    job = submit()
    for _ in range(4):
        claimed(claims)
        recovery.release_workers(["w"])
    assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED


def test_a_job_with_a_pause_request_is_paused_when_it_is_reclaimed(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A reclaimed job with a pause request is paused and not queued."""
    job = submit()
    claimed(claims)
    jobs.pause(OWNER, job.id)
    recovery.release_workers(["w"], LOST)
    paused = jobs.get(OWNER, job.id)
    assert (paused.status, paused.pause_requested) == (JobStatus.PAUSED, False)


def test_workers_of_jobs_with_a_cancel_request(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """`to_cancel` returns those of the given workers whose job has a cancel request."""
    for worker_id in ("w1", "w2", "w3"):
        submit()
        job = claimed(claims, worker_id)
        if worker_id != "w2":
            jobs.cancel(OWNER, job.id)
    assert recovery.to_cancel(["w1", "w2"]) == {"w1"}


@pytest.mark.parametrize(
    ("saved", "status"), [(True, JobStatus.SUCCEEDED), (False, JobStatus.FAILED)], ids=["saved", "nothing"]
)
def test_a_job_over_its_runtime_limit_ends_with_its_checkpoint(
    claims: ClaimStore,
    recovery: RecoveryStore,
    jobs: JobStore,
    submit: Submit,
    saved: bool,
    status: JobStatus,
) -> None:
    """A job whose worker was killed over the runtime limit succeeds with a checkpoint and fails without."""
    job = submit()
    claim = Claim.of(claimed(claims))
    if saved:
        claims.save_checkpoint(claim, NewCheckpoint(1, "a", 1))
    assert recovery.overrun("w", job.id) == [job.id]
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (status, StopReason.MAX_RUNTIME)
    assert (ended.error is None) == saved
    assert ended.finished_at is not None


def test_a_job_over_its_runtime_limit_ends_alone(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """Other jobs of the same worker, and those of other workers, are not changed."""
    over, beside, elsewhere = submit(), submit(), submit()
    for worker_id in ("w", "w", "w2"):
        claimed(claims, worker_id)
    before = [jobs.get(OWNER, job.id) for job in (beside, elsewhere)]
    assert recovery.overrun("w", elsewhere.id) == []
    assert recovery.overrun("w", over.id) == [over.id]
    assert [jobs.get(OWNER, job.id) for job in (beside, elsewhere)] == before
    assert recovery.release_workers(["w"]) == [beside.id]


def values_of(epoch: int) -> str:
    """Return an epoch document whose values all equal the number of the epoch."""
    return json_text(epoch_document(epoch, dict.fromkeys(LOSS_COLUMNS, float(epoch))))


def row_of(first: int, last: int) -> HistoryRow:
    """Return the history of epochs `first` to `last` with the values of `values_of`."""
    values = np.tile(np.arange(first, last + 1, dtype=np.float64), (len(LOSS_COLUMNS), 1))
    return HistoryRow(first, last, HistoryChunk(first, LOSS_COLUMNS, values).pack())


def claim_beyond_checkpoint(claims: ClaimStore) -> Claim:
    """Claim a job, save a checkpoint at epoch 5 and record progress up to epoch 8."""
    claim = Claim.of(claimed(claims))
    claims.record(Report(claim, Progress(5, values_of(5), values_of(4)), [row_of(1, 5)]))
    claims.save_checkpoint(claim, NewCheckpoint(5, "a", 1))
    claims.record(Report(claim, Progress(8, values_of(8), values_of(7)), [row_of(6, 8)]))
    return claim


@pytest.mark.parametrize("end", ["over its time", "cancelled", "paused", "queued", "lost too many workers"])
def test_a_reclaimed_job_is_at_its_newest_checkpoint(
    database: Database, claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit, end: str
) -> None:
    """Epoch, latest values and history of a reclaimed job are those of its newest checkpoint."""
    job = submit()
    if end == "lost too many workers":
        claimed(claims)
        recovery.release_workers(["w"], LOST)
    claim_beyond_checkpoint(claims)
    if end == "cancelled":
        jobs.cancel(OWNER, job.id)
    if end == "paused":
        jobs.pause(OWNER, job.id)
    if end == "over its time":
        recovery.overrun("w", job.id)
    else:
        recovery.release_workers(["w"], LOST)
    after = jobs.get(OWNER, job.id)
    assert after.status is not JobStatus.RUNNING
    assert (after.epoch, after.latest, after.best) == (5, values_of(5), None)
    assert HistoryStore(database).rows(job.id) == [row_of(1, 5)]


class DelayedCommit(Database):
    """A database whose transactions wait for `commit` after their writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written, self.commit = threading.Event(), threading.Event()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that commits once `commit` is set."""
        with super().write() as connection:
            yield connection
            self.written.set()
            assert self.commit.wait(10)


@pytest.mark.parametrize(
    "end", [RecoveryStore.overrun, lambda recovery, worker_id, _: recovery.release_workers([worker_id])]
)
def test_an_uncommitted_checkpoint_is_waited_for(
    database: Database,
    claims: ClaimStore,
    recovery: RecoveryStore,
    jobs: JobStore,
    submit: Submit,
    end: Callable[[RecoveryStore, str, str], Sequence[str]],
) -> None:
    """Reclaiming a job waits for a checkpoint that is being committed, and uses it."""
    job = submit()
    claim = claim_beyond_checkpoint(claims)
    with closing(DelayedCommit(database.url)) as delayed, ThreadPoolExecutor(2) as threads:
        saving = threads.submit(ClaimStore(delayed).save_checkpoint, claim, NewCheckpoint(8, "b", 1))
        assert delayed.written.wait(10)
        ending = threads.submit(end, recovery, "w", job.id)
        with pytest.raises(TimeoutError):
            ending.result(LOCK_WAIT_SECONDS)
        delayed.commit.set()
        saving.result()
        assert ending.result() == [job.id]
    after = jobs.get(OWNER, job.id)
    assert (after.epoch, after.latest, after.best) == (8, values_of(8), values_of(7))
    assert HistoryStore(database).rows(job.id) == [row_of(1, 5), row_of(6, 8)]


class SlowWrite(Database):
    """A database that calls a function before each write transaction."""

    def __init__(self, url: str, before_write: Callable[[], None]) -> None:
        super().__init__(url)
        self.before_write = before_write

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Call the function, then open a transaction."""
        self.before_write()
        with super().write() as connection:
            yield connection


def test_a_lease_that_expires_while_the_database_blocks_is_kept(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A lease that expires while the database is waited for is kept; its worker may have had to wait, too."""
    first, second = submit(), submit()
    claimed(claims, lease_seconds=0.01)
    claim = Claim.of(claimed(claims))
    time.sleep(0.05)

    def expire_another() -> None:
        claims.renew([claim], 0.01)
        time.sleep(0.05)

    with closing(SlowWrite(database.url, expire_another)) as slow:
        assert RecoveryStore(slow).expire() == [first.id]
    assert jobs.get(OWNER, second.id).status is JobStatus.RUNNING


def test_a_best_epoch_within_the_checkpoint_is_kept(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """The best epoch of a reclaimed job is kept if it is not after the checkpoint."""
    job = submit()
    claim = claim_beyond_checkpoint(claims)
    claims.record(Report(claim, Progress(8, values_of(8), values_of(4))))
    recovery.release_workers(["w"])
    assert jobs.get(OWNER, job.id).best == values_of(4)
