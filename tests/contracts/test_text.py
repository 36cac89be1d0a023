"""Text with the character NUL in it, which Postgres can't hold, on each database."""

from collections.abc import Callable
from datetime import datetime

import pytest

from service import errors
from service.storage.claims import Claim, ClaimStore, Progress, Report
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.logs import LogStore
from service.storage.pages import Cursor
from service.storage.timestamp import EPOCH
from tests.support.records import OWNER, claimed, new_dataset, new_job

NUL = "job_\0"
LATER = EPOCH.replace(year=2100)


def test_nothing_is_named_so(
    jobs: JobStore, datasets: DatasetStore, submit: Callable[..., Job], database: Database
) -> None:
    """Whatever is looked for under a name with NUL in it is not there."""
    submit()
    for look in (jobs.get, jobs.cancel, jobs.pause, jobs.resume, jobs.delete):
        with pytest.raises(errors.JobNotFound):
            look(OWNER, NUL)
    with pytest.raises(errors.JobNotFound):
        LogStore(database).of_job(OWNER, NUL, 10)
    with pytest.raises(errors.DatasetNotFound):
        datasets.get(OWNER, NUL)
    with pytest.raises(errors.DatasetNotFound):
        jobs.submit(OWNER, new_job(), NUL)
    assert jobs.list(OWNER, name=NUL) == []
    assert jobs.replay(OWNER, IdempotencyKey(NUL, "fingerprint")) is None


@pytest.mark.parametrize(("at", "count"), [(LATER, 1), (EPOCH, 0)])
def test_a_page_may_begin_there(jobs: JobStore, at: datetime, count: int) -> None:
    """A place in a list that a client has made up is a place like any other."""
    jobs.submit(OWNER, new_job(), new_dataset())
    assert len(jobs.list(OWNER, before=Cursor(at, NUL))) == count


def test_a_log_shows_it(database: Database, claims: ClaimStore, submit: Callable[..., Job]) -> None:
    """What a library says of a client's data may have it: the log has a sign in its place."""
    job = submit()
    claims.record(Report(Claim.of(claimed(claims)), Progress(), warnings=["No column `a\0b`."]))
    assert LogStore(database).of_job(OWNER, job.id, 10)[-1].message == "No column `a\ufffdb`."
