"""Jobs taken back from workers, on each database."""

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
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.json_text import json_text
from service.storage.recovery import RecoveryStore
from tests.support.records import OWNER, claimed

Submit = Callable[..., Job]
# Another transaction gets so far in this time that it waits for a lock.
WAITING_SECONDS = 0.5
LOST = "Its process was ended by SIGSEGV."


def test_an_expired_lease_puts_the_job_back(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job whose lease ran out is queued in its old place; one whose lease runs stays."""
    first, second, third = submit(), submit(), submit()
    claimed(claims, lease_seconds=0.01)
    claimed(claims)
    time.sleep(0.05)
    assert recovery.expire() == [first.id]
    assert recovery.expire() == []
    back = jobs.get(OWNER, first.id)
    assert (back.status, back.worker_id, back.lease_expires_at) == (JobStatus.QUEUED, None, None)
    assert jobs.get(OWNER, second.id).status is JobStatus.RUNNING
    again = claimed(claims)
    assert (again.id, again.attempt) == (first.id, 2)
    assert claimed(claims).id == third.id


def test_a_dead_workers_jobs_go_back(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """All running jobs of a worker are taken back, and nobody else's."""
    mine, other = submit(), submit()
    claimed(claims, "w")
    claimed(claims, "w2")
    assert recovery.release_workers(["w"]) == [mine.id]
    assert jobs.get(OWNER, mine.id).status is JobStatus.QUEUED
    assert jobs.get(OWNER, other.id).status is JobStatus.RUNNING


def test_a_job_that_loses_worker_after_worker_fails(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """The second worker lost without a newer checkpoint ends the job, with a problem that says how."""
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


def test_checkpoints_and_releases_are_no_failures(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job that gets further each time, or is given back in good order, is queued again and again."""
    job = submit()
    for epoch in range(1, 5):
        claims.save_checkpoint(Claim.of(claimed(claims)), NewCheckpoint(epoch, f"a{epoch}", 1))
        recovery.release_workers(["w"], LOST)
        claims.release(Claim.of(claimed(claims)))
    assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED


def test_a_checkpoint_of_the_same_step_is_no_progress(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job that dies again after saving the step that it went on from fails; a step more is progress."""
    job = submit()
    for attempt, step in enumerate((3, 4, 4)):
        claim = Claim.of(claimed(claims))
        claims.save_checkpoint(claim, NewCheckpoint(1, f"a{attempt}", 1, step), keep=[])
        assert recovery.release_workers(["w"], LOST) == [job.id]
    assert jobs.get(OWNER, job.id).status is JobStatus.FAILED


def test_a_job_to_be_cancelled_is_not_queued_again(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A job whose owner has cancelled it ends when it is taken back."""
    job = submit()
    claimed(claims)
    jobs.cancel(OWNER, job.id)
    recovery.release_workers(["w"])
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, StopReason.CANCELLED)
    assert ended.error is None
    assert ended.finished_at is not None


def test_a_worker_that_gave_up_counts_for_nothing(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """Workers that are ended for no fault of the job, as at a shutdown, may be as many as they like."""
    job = submit()
    for _ in range(4):
        claimed(claims)
        recovery.release_workers(["w"])
    assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED


def test_a_job_to_be_paused_rests_when_its_worker_is_lost(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """A pause that was asked for comes true, also where the worker dies before."""
    job = submit()
    claimed(claims)
    jobs.pause(OWNER, job.id)
    recovery.release_workers(["w"], LOST)
    paused = jobs.get(OWNER, job.id)
    assert (paused.status, paused.pause_requested) == (JobStatus.PAUSED, False)


def test_workers_whose_job_is_to_be_cancelled_are_known(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """Of the workers asked about, those are told whose job has been cancelled meanwhile."""
    for worker_id in ("w1", "w2", "w3"):
        submit()
        job = claimed(claims, worker_id)
        if worker_id != "w2":
            jobs.cancel(OWNER, job.id)
    assert recovery.to_cancel(["w1", "w2"]) == {"w1"}


@pytest.mark.parametrize(
    ("saved", "status"), [(True, JobStatus.SUCCEEDED), (False, JobStatus.FAILED)], ids=["saved", "nothing"]
)
def test_a_job_over_its_time_ends_with_what_was_saved(
    claims: ClaimStore,
    recovery: RecoveryStore,
    jobs: JobStore,
    submit: Submit,
    saved: bool,
    status: JobStatus,
) -> None:
    """A job whose worker was ended over its time succeeds with its checkpoint, and fails without."""
    job = submit()
    claim = Claim.of(claimed(claims))
    if saved:
        claims.save_checkpoint(claim, NewCheckpoint(1, "a", 1))
    assert recovery.overrun("w", job.id) == [job.id]
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (status, StopReason.MAX_RUNTIME)
    assert (ended.error is None) == saved
    assert ended.finished_at is not None


def test_a_job_over_its_time_ends_alone(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """Others of its worker stay as they are, and so does whatever another worker has."""
    over, beside, elsewhere = submit(), submit(), submit()
    for worker_id in ("w", "w", "w2"):
        claimed(claims, worker_id)
    before = [jobs.get(OWNER, job.id) for job in (beside, elsewhere)]
    assert recovery.overrun("w", elsewhere.id) == []
    assert recovery.overrun("w", over.id) == [over.id]
    assert [jobs.get(OWNER, job.id) for job in (beside, elsewhere)] == before
    assert recovery.release_workers(["w"]) == [beside.id]


def values_of(epoch: int) -> str:
    """An epoch's values as a job tells them, the same number for each."""
    return json_text(epoch_document(epoch, dict.fromkeys(LOSS_COLUMNS, float(epoch))))


def row_of(first: int, last: int) -> HistoryRow:
    """The history of some epochs, with those values."""
    values = np.tile(np.arange(first, last + 1, dtype=np.float64), (len(LOSS_COLUMNS), 1))
    return HistoryRow(first, last, HistoryChunk(first, LOSS_COLUMNS, values).pack())


def beyond_its_checkpoint(claims: ClaimStore) -> Claim:
    """The claim of a job that was saved after 5 epochs, and has told of 8."""
    claim = Claim.of(claimed(claims))
    claims.record(Report(claim, Progress(5, values_of(5), values_of(4)), [row_of(1, 5)]))
    claims.save_checkpoint(claim, NewCheckpoint(5, "a", 1))
    claims.record(Report(claim, Progress(8, values_of(8), values_of(7)), [row_of(6, 8)]))
    return claim


@pytest.mark.parametrize("end", ["over its time", "cancelled", "paused", "queued", "lost too many workers"])
def test_a_job_taken_back_is_where_its_model_is(
    database: Database, claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit, end: str
) -> None:
    """Whatever becomes of it: epoch, latest values and history are those of its newest checkpoint."""
    job = submit()
    if end == "lost too many workers":
        claimed(claims)
        recovery.release_workers(["w"], LOST)
    beyond_its_checkpoint(claims)
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


class Hesitant(Database):
    """Commits only when it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written, self.commit = threading.Event(), threading.Event()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database`."""
        with super().write() as connection:
            yield connection
            self.written.set()
            assert self.commit.wait(10)


@pytest.mark.parametrize(
    "end", [RecoveryStore.overrun, lambda recovery, worker_id, _: recovery.release_workers([worker_id])]
)
def test_a_checkpoint_that_is_just_being_written_counts(
    database: Database,
    claims: ClaimStore,
    recovery: RecoveryStore,
    jobs: JobStore,
    submit: Submit,
    end: Callable[[RecoveryStore, str, str], Sequence[str]],
) -> None:
    """Whoever takes a job back while a checkpoint is committed waits for that, and goes by it."""
    job = submit()
    claim = beyond_its_checkpoint(claims)
    with closing(Hesitant(database.url)) as hesitant, ThreadPoolExecutor(2) as threads:
        saving = threads.submit(ClaimStore(hesitant).save_checkpoint, claim, NewCheckpoint(8, "b", 1))
        assert hesitant.written.wait(10)
        ending = threads.submit(end, recovery, "w", job.id)
        with pytest.raises(TimeoutError):
            ending.result(WAITING_SECONDS)
        hesitant.commit.set()
        saving.result()
        assert ending.result() == [job.id]
    after = jobs.get(OWNER, job.id)
    assert (after.epoch, after.latest, after.best) == (8, values_of(8), values_of(7))
    assert HistoryStore(database).rows(job.id) == [row_of(1, 5), row_of(6, 8)]


class Slow(Database):
    """Something happens before it can be written to."""

    def __init__(self, url: str, meanwhile: Callable[[], None]) -> None:
        super().__init__(url)
        self.meanwhile = meanwhile

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database`."""
        self.meanwhile()
        with super().write() as connection:
            yield connection


def test_a_lease_that_runs_out_while_the_database_is_waited_for_is_left(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """Perhaps nobody could renew it: only those are lost whose lease had run out before."""
    first, second = submit(), submit()
    claimed(claims, lease_seconds=0.01)
    claim = Claim.of(claimed(claims))
    time.sleep(0.05)

    def meanwhile() -> None:
        claims.renew([claim], 0.01)
        time.sleep(0.05)

    with closing(Slow(database.url, meanwhile)) as slow:
        assert RecoveryStore(slow).expire() == [first.id]
    assert jobs.get(OWNER, second.id).status is JobStatus.RUNNING


def test_a_best_epoch_that_was_saved_stays(
    claims: ClaimStore, recovery: RecoveryStore, jobs: JobStore, submit: Submit
) -> None:
    """What is told of the best epoch stays where the checkpoint has it."""
    job = submit()
    claim = beyond_its_checkpoint(claims)
    claims.record(Report(claim, Progress(8, values_of(8), values_of(4))))
    recovery.release_workers(["w"])
    assert jobs.get(OWNER, job.id).best == values_of(4)
