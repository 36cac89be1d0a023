"""The store of claims, on each database."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import CheckpointStore, NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, LeaseLost, Progress, Report, Signals
from service.storage.database import Database
from service.storage.history import HistoryRow, HistoryStore
from service.storage.jobs import JobStore
from service.storage.queue import QueueStore
from service.storage.recovery import RecoveryStore
from tests.support.records import DONE, LOCK_WAIT_SECONDS, OWNER, Submit, claimed


def test_jobs_are_claimed_by_priority_then_age(claims: ClaimStore, submit: Submit) -> None:
    """The oldest job of the highest priority is claimed first; a claim on an empty queue returns None."""
    old, young, urgent = submit(), submit(), submit(priority=5)
    assert [claimed(claims).id for _ in range(3)] == [urgent.id, old.id, young.id]
    assert claims.claim("w", ["cpu"], 30) is None


def test_a_worker_claims_for_its_devices_only(claims: ClaimStore, submit: Submit) -> None:
    """A worker claims jobs of the devices it names, and of no other."""
    on_any, on_first = submit(device="cuda"), submit(device="cuda:0")
    assert claims.claim("w", {"cpu"}, 30) is None
    assert claims.claim("w", {"cuda", "cuda:1"}, 30) is not None
    assert claims.claim("w", {"cuda", "cuda:1"}, 30) is None
    job = claims.claim("w", {"cuda", "cuda:0"}, 30)
    assert job is not None
    assert job.id == on_first.id != on_any.id


def test_a_claimed_job_is_running(claims: ClaimStore, submit: Submit) -> None:
    """A claimed job has its worker, its attempt, the time of its start and the end of its lease."""
    before = submit()
    job = claimed(claims)
    assert (job.status, job.worker_id, job.attempt) == (JobStatus.RUNNING, "w", 1)
    assert job.version == before.version + 1
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert (job.lease_expires_at - job.started_at).total_seconds() == pytest.approx(30, abs=1)


def test_no_job_is_claimed_twice(claims: ClaimStore, queue: QueueStore, submit: Submit) -> None:
    """Of four workers that claim at the same time, exactly one gets each job."""
    submitted = sorted(submit().id for _ in range(24))
    ready = threading.Barrier(4)

    def work(worker_id: str) -> list[str]:
        ready.wait()
        ids = []
        while (job := claims.claim(worker_id, ["cpu"], 30)) or queue.lengths():
            if job is not None:
                ids.append(job.id)
        return ids

    with ThreadPoolExecutor(4) as threads:
        ids_of_workers = list(threads.map(work, ["w1", "w2", "w3", "w4"]))
    assert sorted(job_id for ids in ids_of_workers for job_id in ids) == submitted


def test_renewing_extends_leases(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """`renew` extends the leases of current claims and returns their signals; lost claims are left out."""
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


def test_a_heartbeat_and_a_record_never_deadlock(claims: ClaimStore, submit: Submit) -> None:
    """A heartbeat waits for a record of the same jobs, since both lock rows in the same order."""
    submit()
    submit(priority=1)  # the index of the queue has the opposite order
    second, first = (Claim.of(claimed(claims)) for _ in range(2))
    with ThreadPoolExecutor(1) as threads:
        heartbeats: list[Future[dict[Claim, Signals]]] = []

        def reports() -> Iterator[Report]:
            yield Report(first, Progress(1))
            heartbeats.append(threads.submit(claims.renew, [first, second], 30))
            with pytest.raises(TimeoutError):
                heartbeats[0].result(LOCK_WAIT_SECONDS)
            yield Report(second, Progress(1))

        assert claims.record_all(reports()) == [Signals(False, False)] * 2
        assert set(heartbeats[0].result()) == {first, second}


def test_progress_and_history_are_recorded(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A report updates the job and its history; values that it leaves out are kept."""
    submit()
    claim = Claim.of(claimed(claims))
    rows = [HistoryRow(1, 5, b"one"), HistoryRow(6, 9, b"two")]
    claims.record(Report(claim, Progress(9, '{"epoch": 9}', '{"epoch": 7}', 0.9, 0.1), rows))
    claims.record(Report(claim, Progress(10, latest='{"epoch": 10}'), [HistoryRow(10, 10, b"three")]))
    job = jobs.get(OWNER, claim.job_id)
    assert (job.epoch, job.latest, job.best) == (10, '{"epoch": 10}', '{"epoch": 7}')
    assert (job.training_seconds, job.epoch_seconds) == (0.9, 0.1)
    history = HistoryStore(database)
    assert history.rows(claim.job_id) == [*rows, HistoryRow(10, 10, b"three")]
    assert history.rows(claim.job_id, from_epoch=5, to_epoch=6) == rows
    assert history.rows(claim.job_id, from_epoch=10) == [HistoryRow(10, 10, b"three")]
    assert history.rows(claim.job_id, to_epoch=5) == rows[:1]


def test_checkpoints_replace_each_other(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A checkpoint replaces the one of its epoch and those not kept, whose artifacts are returned."""
    submit()
    claim = Claim.of(claimed(claims))
    assert claims.save_checkpoint(claim, NewCheckpoint(1, "a", 5)) == []
    assert claims.save_checkpoint(claim, NewCheckpoint(1, "b", 5)) == ["a"]
    assert claims.save_checkpoint(claim, NewCheckpoint(2, "c", 5)) == []
    assert claims.save_checkpoint(claim, NewCheckpoint(2, "d", 5, step=7)) == []
    assert claims.save_checkpoint(claim, NewCheckpoint(2, "e", 5, step=9), keep=[1, 2]) == ["d"]
    assert claims.save_checkpoint(claim, NewCheckpoint(3, "f", 5), keep=[2]) == ["b", "e"]
    stored = CheckpointStore(database).of_job(OWNER, claim.job_id)
    assert [(each.epoch, each.step, each.artifact) for each in stored] == [(2, 0, "c"), (3, 0, "f")]


def test_repeated_history_is_stored_once(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A report that repeats epochs of an unanswered one replaces its rows."""
    submit()
    claim = Claim.of(claimed(claims))
    claims.record(Report(claim, Progress(5), [HistoryRow(1, 5, b"one")]))
    claims.record(Report(claim, Progress(8), [HistoryRow(1, 8, b"one and more")]))
    assert HistoryStore(database).rows(claim.job_id) == [HistoryRow(1, 8, b"one and more")]


def test_an_ending_is_written_at_once(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """A finished job has its outcome, its last history and its last checkpoint."""
    submit()
    claim = Claim.of(claimed(claims))
    claims.save_checkpoint(claim, NewCheckpoint(5, "a", 5))
    outcome = replace(DONE, test='{"loss": 1}', timings="{}")
    rows, last = [HistoryRow(1, 10, b"x")], [NewCheckpoint(10, "b", 5)]
    replaced = claims.finish(Ending(claim, outcome, Progress(10, latest="{}"), rows, last, keep=[]))
    assert replaced == ["a"]
    job = jobs.get(OWNER, claim.job_id)
    assert (job.status, job.stop_reason, job.epoch) == (JobStatus.SUCCEEDED, StopReason.COMPLETED, 10)
    assert (job.test, job.timings, job.error) == (outcome.test, outcome.timings, None)
    assert job.finished_at is not None
    assert job.lease_expires_at is None
    assert len(HistoryStore(database).rows(job.id)) == 1
    assert [checkpoint.artifact for checkpoint in CheckpointStore(database).of_job(OWNER, job.id)] == ["b"]


@pytest.mark.parametrize(
    "write",
    [
        lambda claims, claim: claims.record(Report(claim, Progress(1), [HistoryRow(1, 1, b"stale")])),
        lambda claims, claim: claims.save_checkpoint(claim, NewCheckpoint(1, "stale", 1)),
        lambda claims, claim: claims.finish(Ending(claim, DONE, checkpoints=[NewCheckpoint(1, "stale", 1)])),
        lambda claims, claim: claims.release(claim),
    ],
    ids=["record", "save_checkpoint", "finish", "release"],
)
@pytest.mark.parametrize("successor", ["none", "same worker", "another worker"])
def test_a_stale_claim_writes_nothing(
    database: Database,
    claims: ClaimStore,
    recovery: RecoveryStore,
    jobs: JobStore,
    submit: Submit,
    write: Callable[[ClaimStore, Claim], object],
    successor: str,
) -> None:
    """A worker whose job was reclaimed cannot write, whether or not another claim exists."""
    submit()
    stale = Claim.of(claimed(claims, "w"))
    recovery.release_workers(["w"])
    if successor != "none":
        claimed(claims, "w" if successor == "same worker" else "w2")
    before = jobs.get(OWNER, stale.job_id)
    with pytest.raises(LeaseLost):
        write(claims, stale)
    assert claims.renew([stale], 30) == {}
    assert jobs.get(OWNER, stale.job_id) == before
    assert HistoryStore(database).rows(stale.job_id) == []
    assert CheckpointStore(database).of_job(OWNER, stale.job_id) == []


def test_a_new_attempt_without_a_checkpoint_starts_over(
    database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """Without a checkpoint, the next attempt starts without history; the time of the start is kept."""
    submit()
    first = claimed(claims)
    claim = Claim.of(first)
    claims.record(Report(claim, Progress(5, latest="{}", best="{}"), [HistoryRow(1, 5, b"x")]))
    claims.release(claim)
    second = claimed(claims)
    assert (second.epoch, second.latest, second.best) == (0, None, None)
    assert second.started_at == first.started_at
    assert HistoryStore(database).rows(first.id) == []


def test_a_new_attempt_continues_from_the_newest_checkpoint(
    database: Database, claims: ClaimStore, submit: Submit
) -> None:
    """The next attempt has the epoch of the checkpoint and the history up to it."""
    submit()
    first = claimed(claims)
    claim = Claim.of(first)
    claims.record(
        Report(claim, Progress(5, latest='{"epoch": 5}', best='{"epoch": 4}'), [HistoryRow(1, 5, b"x")])
    )
    claims.save_checkpoint(claim, NewCheckpoint(5, "a", 1))
    claims.record(Report(claim, Progress(8), [HistoryRow(6, 8, b"y")]))
    claims.release(claim)
    second = claimed(claims)
    assert (second.epoch, second.latest, second.best) == (5, '{"epoch": 5}', '{"epoch": 4}')
    assert HistoryStore(database).rows(first.id) == [HistoryRow(1, 5, b"x")]


def test_every_change_is_a_new_version(claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Every change that a client can see increments the version of the job."""
    versions = [submit().version]
    claim = Claim.of(claimed(claims))
    for change in (
        lambda: claims.record(Report(claim, Progress(1))),
        lambda: claims.save_checkpoint(claim, NewCheckpoint(1, "a", 1)),
        lambda: jobs.cancel(OWNER, claim.job_id),
        lambda: claims.finish(Ending(claim, DONE)),
    ):
        versions.append(jobs.get(OWNER, claim.job_id).version)
        change()
    versions.append(jobs.get(OWNER, claim.job_id).version)
    assert versions == sorted(set(versions))


def test_jobs_of_a_group_are_claimed_together(claims: ClaimStore, submit: Submit) -> None:
    """The oldest jobs with the same group key and no attempt join a claimed job; others stay queued."""
    submit()
    claims.release(Claim.of(claimed(claims)))
    first, *alike = (submit().id for _ in range(4))
    other = submit(group_key="other").id
    claimed(claims, "w-0")  # the job of an earlier attempt
    leader = claimed(claims)
    assert leader.id == first
    claims.release(Claim.of(claimed(claims)))  # now the second job has an attempt, too
    assert claims.count_alike(leader, limit=9) == 2
    companions = claims.claim_alike(leader, limit=2, lease_seconds=30)
    assert [job.id for job in companions] == alike[1:]
    assert {(job.worker_id, job.status) for job in companions} == {("w", JobStatus.RUNNING)}
    assert [claimed(claims).id, claimed(claims).id] == [alike[0], other]


def test_endings_are_written_together_or_not_at_all(
    claims: ClaimStore, jobs: JobStore, submit: Submit
) -> None:
    """If one of several jobs was reclaimed, no ending is written."""
    submit()
    submit()
    one, two = Claim.of(claimed(claims)), Claim.of(claimed(claims))
    claims.release(two)
    with pytest.raises(LeaseLost) as raised:
        claims.finish(Ending(one, DONE), Ending(two, DONE))
    assert raised.value.args == (two,)
    assert jobs.get(OWNER, one.job_id).status is JobStatus.RUNNING
    claims.finish(Ending(one, DONE))
    assert jobs.get(OWNER, one.job_id).status is JobStatus.SUCCEEDED
