"""The store of changes, on each database."""

import time
from datetime import timedelta

from service.storage.changes import ChangeCursor, ChangeStore
from service.storage.claims import Claim, ClaimStore, Progress, Report
from service.storage.database import Database
from service.storage.jobs import JobStore
from service.storage.tables import jobs as table
from service.storage.timestamp import EPOCH, now
from tests.support.records import OWNER, Submit, claimed


def test_a_change_is_returned_with_its_version(
    database: Database, claims: ClaimStore, submit: Submit
) -> None:
    """`since` returns the versions of the jobs that changed after the last read, and no others."""
    changes = ChangeStore(database)
    submit()
    other = submit()
    time.sleep(0.005)  # the database clock has a resolution of a millisecond
    before = changes.since(None)
    assert before.versions == {}
    time.sleep(0.005)
    job = claimed(claims)
    claims.record(Report(Claim.of(job), Progress(1)))
    after = changes.since(before.until)
    assert after.versions == {job.id: job.version + 1}
    assert other.id not in after.versions
    assert changes.since(after.until + timedelta(hours=1)).versions == {}


def test_a_renewed_lease_is_no_change(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A heartbeat changes neither the version of a job nor the time of its change."""
    submit()
    job = claimed(claims)
    claims.renew([Claim.of(job)], 60)
    (same,) = ChangeStore(database).page(OWNER, ChangeCursor(job.changed_at, 0), 10).jobs
    assert (same.version, same.changed_at) == (job.version, job.changed_at)


def test_a_page_is_ordered_by_the_time_of_change(database: Database, jobs: JobStore, submit: Submit) -> None:
    """A page has the changed jobs of its owner, the earliest change first, up to the limit."""
    first, second, third = submit(), submit(), submit()
    time.sleep(0.005)
    jobs.cancel(OWNER, first.id)
    changes = ChangeStore(database)

    def after(cursor: ChangeCursor, limit: int = 10) -> list[str]:
        return [job.id for job in changes.page(OWNER, cursor, limit).jobs]

    start = ChangeCursor(first.created_at, 0)
    assert after(start) == [second.id, third.id, first.id]
    assert after(start, 2) == [second.id, third.id]
    assert after(ChangeCursor(third.changed_at, third.sequence)) == [first.id]
    assert changes.page("bob", start, 10).jobs == []
    assert changes.page(OWNER, start, 10).read_at >= jobs.get(OWNER, first.id).changed_at


def test_simultaneous_changes_are_paged(database: Database, submit: Submit) -> None:
    """Pages contain each job once, even if more jobs than a page holds changed in one statement."""
    ids = [submit().id for _ in range(5)]
    with database.write() as connection:
        connection.execute(table.update().values(changed_at=now()))
    changes, cursor, read = ChangeStore(database), ChangeCursor(EPOCH, 0), list[str]()
    while page := changes.page(OWNER, cursor, 2).jobs:
        read += [job.id for job in page]
        cursor = ChangeCursor(page[-1].changed_at, page[-1].sequence)
    assert read == ids
