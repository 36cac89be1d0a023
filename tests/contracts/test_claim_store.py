"""Jobs as workers see them, on each database."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import CheckpointStore, NewCheckpoint
from service.storage.claims import Claim, ClaimStore, LeaseLost, Outcome, Progress, Signals
from service.storage.database import Database
from service.storage.history import HistoryRow, HistoryStore
from service.storage.jobs import Job, JobStore
from tests.contracts.samples import OWNER

Submit = Callable[..., Job]
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED, test='{"loss": 1}', timings="{}")


def claimed(claims: ClaimStore, worker_id: str = "w", lease_seconds: float = 30) -> Job:
    """The next job of the CPU's queue, which there is."""
    job = claims.claim(worker_id, ["cpu"], lease_seconds)
    assert job is not None
    return job


def test_jobs_are_claimed_by_priority_then_age(claims: ClaimStore, submit: Submit) -> None:
    """The highest priority goes first, then the oldest; an empty queue gives nothing."""
    old, young, urgent = submit(), submit(), submit(priority=5)
    assert [claimed(claims).id for _ in range(3)] == [urgent.id, old.id, young.id]
    assert claims.claim("w", ["cpu"], 30) is None


def test_a_worker_claims_for_its_devices_only(claims: ClaimStore, submit: Submit) -> None:
    """A worker takes jobs of the queues it names, and of no other."""
    on_any, on_first = submit(device="cuda"), submit(device="cuda:0")
    assert claims.claim("w", {"cpu"}, 30) is None
    assert claims.claim("w", {"cuda", "cuda:1"}, 30) is not None
    assert claims.claim("w", {"cuda", "cuda:1"}, 30) is None
    job = claims.claim("w", {"cuda", "cuda:0"}, 30)
    assert job is not None
    assert job.id == on_first.id != on_any.id


def test_a_claimed_job_runs(claims: ClaimStore, submit: Submit) -> None:
    """A claimed job shows its worker, its attempt, when it started and until when it is held."""
    before = submit()
    job = claimed(claims)
    assert (job.status, job.worker_id, job.attempt) == (JobStatus.RUNNING, "w", 1)
    assert job.version == before.version + 1
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert (job.lease_expires_at - job.started_at).total_seconds() == pytest.approx(30, abs=1)


def test_no_job_is_claimed_twice(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Four workers that claim at the same time get each job once."""
    submitted = sorted(submit().id for _ in range(24))
    ready = threading.Barrier(4)

    def work(worker_id: str) -> list[str]:
        ready.wait()
        taken = []
        while (job := claims.claim(worker_id, ["cpu"], 30)) or jobs.queue_length():
            if job is not None:
                taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(work, ["w1", "w2", "w3", "w4"]))
    assert sorted(job_id for ids in taken for job_id in ids) == submitted


def test_a_renewed_lease_lasts(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Renewing extends the leases that are held, tells their signals and leaves out those that are lost."""
    submit()
    job = claimed(claims)
    claim, lost = Claim.of(job), Claim("job_gone", "w", 1)
    assert claims.renew([claim, lost], 1000) == {claim: Signals(False, False)}
    renewed = jobs.get(OWNER, job.id)
    assert renewed.lease_expires_at is not None
    assert job.lease_expires_at is not None
    assert renewed.lease_expires_at > job.lease_expires_at
    assert renewed.version == job.version
    jobs.cancel(OWNER, job.id)
    assert claims.renew([claim], 30) == {claim: Signals(True, False)}
    assert claims.renew([], 30) == {}


def test_progress_and_history_are_recorded(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """What is recorded shows in the job and its history; what is left out stays."""
    submit()
    claim = Claim.of(claimed(claims))
    rows = [HistoryRow(1, 5, b"one"), HistoryRow(6, 9, b"two")]
    claims.record(claim, Progress(9, latest='{"epoch": 9}', best='{"epoch": 7}'), rows)
    claims.record(claim, Progress(10, latest='{"epoch": 10}'), [HistoryRow(10, 10, b"three")])
    job = jobs.get(OWNER, claim.job_id)
    assert (job.epoch, job.latest, job.best) == (10, '{"epoch": 10}', '{"epoch": 7}')
    history = HistoryStore(database)
    assert history.rows(claim.job_id) == [*rows, HistoryRow(10, 10, b"three")]
    assert history.rows(claim.job_id, from_epoch=5, to_epoch=6) == rows
    assert history.rows(claim.job_id, from_epoch=10) == [HistoryRow(10, 10, b"three")]
    assert history.rows(claim.job_id, to_epoch=5) == rows[:1]


def test_checkpoints_replace_each_other(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A checkpoint takes the place of one of its epoch and of those not kept, whose artifacts are named."""
    submit()
    claim = Claim.of(claimed(claims))
    assert claims.save_checkpoint(claim, NewCheckpoint(1, "a", 5)) == []
    assert claims.save_checkpoint(claim, NewCheckpoint(1, "b", 5)) == ["a"]
    assert claims.save_checkpoint(claim, NewCheckpoint(2, "c", 5)) == []
    assert claims.save_checkpoint(claim, NewCheckpoint(3, "d", 5), keep=[2]) == ["b"]
    stored = CheckpointStore(database).of_job(OWNER, claim.job_id)
    assert [(checkpoint.epoch, checkpoint.artifact) for checkpoint in stored] == [(2, "c"), (3, "d")]


def test_a_job_ends_with_everything_at_once(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A finished job has its outcome, its last history and its last checkpoint."""
    submit()
    claim = Claim.of(claimed(claims))
    claims.save_checkpoint(claim, NewCheckpoint(5, "a", 5))
    forgotten = claims.finish(
        claim,
        DONE,
        Progress(10, latest="{}"),
        [HistoryRow(1, 10, b"x")],
        [NewCheckpoint(10, "b", 5)],
        keep=[],
    )
    assert forgotten == ["a"]
    job = jobs.get(OWNER, claim.job_id)
    assert (job.status, job.stop_reason, job.epoch) == (JobStatus.SUCCEEDED, StopReason.COMPLETED, 10)
    assert (job.test, job.timings, job.error) == (DONE.test, DONE.timings, None)
    assert job.finished_at is not None
    assert job.lease_expires_at is None
    assert len(HistoryStore(database).rows(job.id)) == 1
    assert [checkpoint.artifact for checkpoint in CheckpointStore(database).of_job(OWNER, job.id)] == ["b"]


@pytest.mark.parametrize(
    "write",
    [
        lambda claims, claim: claims.record(claim, Progress(1), [HistoryRow(1, 1, b"stale")]),
        lambda claims, claim: claims.save_checkpoint(claim, NewCheckpoint(1, "stale", 1)),
        lambda claims, claim: claims.finish(claim, DONE, checkpoints=[NewCheckpoint(1, "stale", 1)]),
        lambda claims, claim: claims.release(claim),
    ],
    ids=["record", "save_checkpoint", "finish", "release"],
)
@pytest.mark.parametrize("successor", ["none", "same worker", "another worker"])
def test_a_stale_claim_writes_nothing(
    database: Database,
    claims: ClaimStore,
    jobs: JobStore,
    submit: Submit,
    write: Callable[[ClaimStore, Claim], object],
    successor: str,
) -> None:
    """A worker whose job was taken back can't write any more, whoever has the job now."""
    submit()
    stale = Claim.of(claimed(claims, "w"))
    claims.release_worker("w")
    if successor != "none":
        claimed(claims, "w" if successor == "same worker" else "w2")
    before = jobs.get(OWNER, stale.job_id)
    with pytest.raises(LeaseLost):
        write(claims, stale)
    assert claims.renew([stale], 30) == {}
    assert jobs.get(OWNER, stale.job_id) == before
    assert HistoryStore(database).rows(stale.job_id) == []
    assert CheckpointStore(database).of_job(OWNER, stale.job_id) == []


def test_an_expired_lease_puts_the_job_back(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """A job whose lease ran out is queued in its old place; one whose lease runs stays."""
    first, second, third = submit(), submit(), submit()
    claimed(claims, lease_seconds=0.01)
    claimed(claims)
    time.sleep(0.05)
    assert claims.expire() == [first.id]
    assert claims.expire() == []
    back = jobs.get(OWNER, first.id)
    assert (back.status, back.worker_id, back.lease_expires_at) == (JobStatus.QUEUED, None, None)
    assert jobs.get(OWNER, second.id).status is JobStatus.RUNNING
    again = claimed(claims)
    assert (again.id, again.attempt) == (first.id, 2)
    assert claimed(claims).id == third.id


def test_a_dead_workers_jobs_go_back(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """All running jobs of a worker are taken back, and nobody else's."""
    mine, other = submit(), submit()
    claimed(claims, "w")
    claimed(claims, "w2")
    assert claims.release_worker("w") == [mine.id]
    assert jobs.get(OWNER, mine.id).status is JobStatus.QUEUED
    assert jobs.get(OWNER, other.id).status is JobStatus.RUNNING


def test_a_new_attempt_starts_afresh(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """The next attempt finds no history of the one before, but when the job first started."""
    submit()
    first = claimed(claims)
    claim = Claim.of(first)
    claims.record(claim, Progress(5, latest="{}", best="{}"), [HistoryRow(1, 5, b"x")])
    claims.release(claim)
    assert len(HistoryStore(database).rows(first.id)) == 1
    second = claimed(claims)
    assert (second.epoch, second.latest, second.best) == (0, None, None)
    assert second.started_at == first.started_at
    assert HistoryStore(database).rows(first.id) == []


def test_a_job_that_loses_worker_after_worker_fails(
    claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """The third worker lost without a newer checkpoint ends the job, with a problem that says so."""
    job = submit()
    for _ in range(3):
        assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED
        claimed(claims)
        claims.release_worker("w")
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (JobStatus.FAILED, StopReason.ERROR)
    assert ended.finished_at is not None
    problem = orjson.loads(ended.error or "")
    assert (problem["type"], problem["instance"]) == ("/problems/worker-lost", f"/v1/jobs/{job.id}")
    assert claims.claim("w", ["cpu"], 30) is None


def test_checkpoints_and_releases_are_no_failures(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """A job that gets further each time, or is given back in good order, is queued again and again."""
    job = submit()
    for epoch in range(1, 5):
        claims.save_checkpoint(Claim.of(claimed(claims)), NewCheckpoint(epoch, f"a{epoch}", 1))
        claims.release_worker("w")
        claims.release(Claim.of(claimed(claims)))
    assert jobs.get(OWNER, job.id).status is JobStatus.QUEUED


def test_a_checkpoint_of_an_old_epoch_is_no_progress(
    claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A job that starts over and dies at the same place each time fails, whatever it saves on the way."""
    job = submit()
    for attempt in range(4):
        if jobs.get(OWNER, job.id).status is JobStatus.QUEUED:
            claim = Claim.of(claimed(claims))
            for epoch in (1, 2):
                claims.save_checkpoint(claim, NewCheckpoint(epoch, f"{attempt}-{epoch}", 1), keep=[])
            claims.release_worker("w")
    assert jobs.get(OWNER, job.id).status is JobStatus.FAILED


def test_a_job_to_be_cancelled_is_not_queued_again(
    claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A job whose owner has cancelled it ends when it is taken back."""
    job = submit()
    claimed(claims)
    jobs.cancel(OWNER, job.id)
    claims.release_worker("w")
    ended = jobs.get(OWNER, job.id)
    assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, StopReason.CANCELLED)
    assert ended.error is None
    assert ended.finished_at is not None


def test_every_change_is_a_new_version(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Each change that a client can see gives the job another version."""
    versions = [submit().version]
    claim = Claim.of(claimed(claims))
    for change in (
        lambda: claims.record(claim, Progress(1)),
        lambda: claims.save_checkpoint(claim, NewCheckpoint(1, "a", 1)),
        lambda: jobs.cancel(OWNER, claim.job_id),
        lambda: claims.finish(claim, DONE),
    ):
        versions.append(jobs.get(OWNER, claim.job_id).version)
        change()
    versions.append(jobs.get(OWNER, claim.job_id).version)
    assert versions == sorted(set(versions))
