"""The store of job logs, on each database."""

import pytest

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, LeaseLost, Outcome, Progress, Report
from service.storage.database import Database
from service.storage.job_record import Job, StartingPoint
from service.storage.jobs import JobStore
from service.storage.logs import LogStore
from service.storage.planned_job import PlannedJob
from service.storage.recovery import RecoveryStore
from tests.support.records import DONE, OWNER, Submit, claimed, new_dataset, new_job


@pytest.fixture
def logs(database: Database) -> LogStore:
    """The store of job logs."""
    return LogStore(database)


def lines_of(logs: LogStore, job: Job) -> list[tuple[int, str, str]]:
    """Return the log of a job: attempt, level and message of each line."""
    return [(line.attempt, line.level, line.message) for line in logs.of_job(OWNER, job.id, 100)]


def test_every_event_of_a_job_is_logged(
    claims: ClaimStore, jobs: JobStore, logs: LogStore, submit: Submit
) -> None:
    """Queueing, claims, warnings, checkpoints, pause, resume and end are logged in order."""
    job = submit()
    claim = Claim.of(claimed(claims, "wrk_1"))
    claims.record(Report(claim, Progress(1), warnings=["The disk is full: no checkpoint."]))
    claims.save_checkpoint(claim, NewCheckpoint(4, "checkpoints/a", 99, step=3))
    jobs.pause(OWNER, job.id)
    claims.release(claim)
    jobs.resume(OWNER, job.id)
    claims.finish(Ending(Claim.of(claimed(claims, "wrk_2")), DONE))
    assert lines_of(logs, job) == [
        (0, "info", "Queued for cpu with the eager engine."),
        (1, "info", "Claimed by worker wrk_1."),
        (1, "warning", "The disk is full: no checkpoint."),
        (1, "info", "Checkpoint saved: epoch 4 and 3 steps, 99 bytes."),
        (1, "info", "Pause requested; status: running."),
        (1, "info", "Status: paused, at epoch 4."),
        (1, "info", "Resume requested; status: queued."),
        (2, "info", "Claimed by worker wrk_2, continuing from epoch 4."),
        (2, "info", "Ended: succeeded, completed."),
    ]
    lines = logs.of_job(OWNER, job.id, 100)
    assert lines == sorted(lines, key=lambda line: (line.at, line.number))


def test_lost_workers_and_failures_are_logged(
    claims: ClaimStore, recovery: RecoveryStore, logs: LogStore, submit: Submit
) -> None:
    """The log contains the reason for the loss of a worker and for the failure of a job."""
    job = submit()
    claimed(claims, "wrk_1")
    recovery.release_workers(["wrk_1"], "It was killed by signal 9.")
    claimed(claims, "wrk_2")
    recovery.release_workers(["wrk_2"], "It was killed by signal 9.")
    lost = "Worker lost. It was killed by signal 9."
    assert lines_of(logs, job)[1:] == [
        (1, "info", "Claimed by worker wrk_1."),
        (1, "warning", f"{lost} Status: queued, at epoch 0."),
        (2, "info", "Claimed by worker wrk_2."),
        (2, "error", f"{lost} Status: failed, at epoch 0."),
    ]
    diverged = submit()
    failure = Outcome(JobStatus.FAILED, StopReason.DIVERGED, error='{"detail": "The loss is not finite."}')
    claims.finish(Ending(Claim.of(claimed(claims)), failure, warnings=["Late."]))
    assert lines_of(logs, diverged)[2:] == [
        (1, "warning", "Late."),
        (1, "error", "Ended: failed, diverged. The loss is not finite."),
    ]


def test_groups_and_continuations_are_logged(
    claims: ClaimStore, jobs: JobStore, logs: LogStore, submit: Submit
) -> None:
    """The log names the job with which another trains in a group, and the job that another continues."""
    first, second = submit(), submit()
    leader = claimed(claims, "wrk_1")
    assert [each.id for each in claims.claim_alike(leader, 7, 30)] == [second.id]
    assert lines_of(logs, first)[1:] == [
        (1, "info", "Claimed by worker wrk_1."),
        (1, "info", "Training in a group with 1 other job."),
    ]
    assert lines_of(logs, second)[1:] == [
        (1, "info", f"Claimed by worker wrk_1, to train in a group with {first.id}.")
    ]
    start = StartingPoint(first.id, NewCheckpoint(5, "checkpoints/b", 9))
    continued, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), start=start))
    queued = f"Queued for cpu with the eager engine, continuing {first.id} from epoch 5."
    assert lines_of(logs, continued) == [(0, "info", queued)]


def test_a_stale_claim_logs_nothing(claims: ClaimStore, logs: LogStore, submit: Submit) -> None:
    """A worker that lost its job adds nothing to the log."""
    job = submit()
    stale = Claim.of(claimed(claims))
    claims.release(stale)
    before = lines_of(logs, job)
    for act in (
        lambda: claims.record(Report(stale, Progress(1), warnings=["Stale."])),
        lambda: claims.save_checkpoint(stale, NewCheckpoint(1, "checkpoints/a", 1)),
        lambda: claims.finish(Ending(stale, DONE)),
        lambda: claims.release(stale),
    ):
        with pytest.raises(LeaseLost):
            act()
    assert lines_of(logs, job) == before


def test_a_log_is_read_in_pages(claims: ClaimStore, jobs: JobStore, logs: LogStore, submit: Submit) -> None:
    """A page has a limited number of lines after a line; the log exists for the owner until deletion."""
    job, other = submit(), submit()
    jobs.cancel(OWNER, job.id)
    (first,) = logs.of_job(OWNER, job.id, 1)
    (second,) = logs.of_job(OWNER, job.id, 5, after=first.number)
    assert second.message == "Cancel requested; status: cancelled."
    assert logs.of_job(OWNER, job.id, 5, after=second.number) == []
    for owner, job_id in (("eve", job.id), (OWNER, "job_none")):
        with pytest.raises(errors.JobNotFound):
            logs.of_job(owner, job_id, 5)
    jobs.delete(OWNER, job.id)
    with pytest.raises(errors.JobNotFound):
        logs.of_job(OWNER, job.id, 5)
    assert len(logs.of_job(OWNER, other.id, 5)) == 1


def test_warnings_of_the_check_are_stored_and_logged(jobs: JobStore, logs: LogStore) -> None:
    """A job keeps the warnings of its check, and each is a line of its log."""
    warnings = (
        '[{"pointer": "#/training/loss", "detail": "Ends twice."}, {"pointer": "#/data", "detail": "Large."}]'
    )
    job, _ = jobs.submit(OWNER, PlannedJob(new_job(warnings=warnings), new_dataset()))
    assert jobs.get(OWNER, job.id).warnings == warnings
    first, second, _ = lines_of(logs, job)
    assert (first, second) == (
        (0, "warning", "#/training/loss: Ends twice."),
        (0, "warning", "#/data: Large."),
    )
