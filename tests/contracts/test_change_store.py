"""What has changed since a time, on each database."""

import time
from collections.abc import Callable
from datetime import timedelta

from service.storage.changes import ChangeCursor, ChangeStore
from service.storage.claims import Claim, ClaimStore, Progress, Report
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.tables import jobs as table
from service.storage.timestamp import EPOCH, now
from tests.support.records import OWNER, claimed

Submit = Callable[..., Job]
LITTLE = timedelta(microseconds=1)


def test_a_change_is_told_with_its_version(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """Whoever asks from the last answer on is told the jobs that changed since, and no others."""
    changes = ChangeStore(database)
    submit()
    other = submit()
    time.sleep(0.005)  # the database's clock has milliseconds
    before = changes.since(None)
    assert before.versions == {}
    time.sleep(0.005)
    job = claimed(claims)
    claims.record(Report(Claim.of(job), Progress(1)))
    after = changes.since(before.until)
    assert after.versions == {job.id: job.version + 1}
    assert other.id not in after.versions
    assert changes.since(after.until + timedelta(hours=1)).versions == {}


def test_leases_are_no_change(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A heartbeat tells nothing to those who follow a job."""
    submit()
    job = claimed(claims)
    claims.renew([Claim.of(job)], 60)
    (same,) = ChangeStore(database).page(OWNER, ChangeCursor(job.changed_at, 0), 10).jobs
    assert (same.version, same.changed_at) == (job.version, job.changed_at)


def test_changed_jobs_come_in_the_order_of_their_changes(
    database: Database, jobs: JobStore, submit: Submit
) -> None:
    """An owner's changed jobs, the earliest change first, some at a time; another owner has none."""
    first, second, third = submit(), submit(), submit()
    time.sleep(0.005)
    jobs.cancel(OWNER, first.id)
    changes = ChangeStore(database)

    def after(cursor: ChangeCursor, limit: int = 10) -> list[str]:
        return [job.id for job in changes.page(OWNER, cursor, limit).jobs]

    begin = ChangeCursor(first.created_at, 0)
    assert after(begin) == [second.id, third.id, first.id]
    assert after(begin, 2) == [second.id, third.id]
    assert after(ChangeCursor(third.changed_at, third.sequence)) == [first.id]
    assert changes.page("bob", begin, 10).jobs == []
    assert changes.page(OWNER, begin, 10).read_at >= jobs.get(OWNER, first.id).changed_at


def test_jobs_that_changed_at_once_have_places_of_their_own(database: Database, submit: Submit) -> None:
    """More jobs than a page holds may change in one statement: no page begins where the one before did."""
    ids = [submit().id for _ in range(5)]
    with database.write() as connection:
        connection.execute(table.update().values(changed_at=now()))
    changes, cursor, told = ChangeStore(database), ChangeCursor(EPOCH, 0), list[str]()
    while page := changes.page(OWNER, cursor, 2).jobs:
        told += [job.id for job in page]
        cursor = ChangeCursor(page[-1].changed_at, page[-1].sequence)
    assert told == ids
