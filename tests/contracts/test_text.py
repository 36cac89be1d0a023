"""Text with NUL characters, which Postgres cannot store, on each database."""

from datetime import datetime

import pytest

from service import errors
from service.storage.claims import Claim, ClaimStore, Progress, Report
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.idempotency import IdempotencyKey
from service.storage.jobs import JobStore
from service.storage.logs import LogStore
from service.storage.pages import Cursor
from service.storage.planned_job import PlannedJob
from service.storage.timestamp import EPOCH
from tests.support.records import OWNER, Submit, claimed, new_dataset, new_job

NUL = "job_\0"
LATER = EPOCH.replace(year=2100)


def test_no_row_has_a_nul_in_its_name(
    jobs: JobStore, datasets: DatasetStore, submit: Submit, database: Database
) -> None:
    """An id or name with NUL is not found, as any other unknown one."""
    submit()
    for act in (jobs.get, jobs.cancel, jobs.pause, jobs.resume, jobs.delete):
        with pytest.raises(errors.JobNotFound):
            act(OWNER, NUL)
    with pytest.raises(errors.JobNotFound):
        LogStore(database).of_job(OWNER, NUL, 10)
    with pytest.raises(errors.DatasetNotFound):
        datasets.get(OWNER, NUL)
    with pytest.raises(errors.DatasetNotFound):
        jobs.submit(OWNER, PlannedJob(new_job(), NUL))
    assert jobs.list(OWNER, name=NUL) == []
    assert jobs.replay(OWNER, IdempotencyKey(NUL, "fingerprint")) is None


@pytest.mark.parametrize(("at", "count"), [(LATER, 1), (EPOCH, 0)])
def test_a_cursor_may_contain_nul(jobs: JobStore, at: datetime, count: int) -> None:
    """A list accepts a cursor whose id contains NUL."""
    jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    assert len(jobs.list(OWNER, before=Cursor(at, NUL))) == count


def test_nul_is_replaced_in_a_log(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """A NUL in a warning, for instance in a column name, is logged as U+FFFD."""
    job = submit()
    claims.record(Report(Claim.of(claimed(claims)), Progress(), warnings=["No column `a\0b`."]))
    assert LogStore(database).of_job(OWNER, job.id, 10)[-1].message == "No column `a\ufffdb`."
