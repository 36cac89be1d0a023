"""SQL statements of `ClaimStore`, built once.

Building a statement takes longer than SQLite takes to execute it, which dominates the cost of a small job in
a group. Bind parameters are named like the columns, with a prefix.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, and_, bindparam, delete, func, or_, select, tuple_

from service.specs.job import JobStatus
from service.storage.database import INSERTS
from service.storage.job_record import job_update
from service.storage.tables import checkpoints, history, jobs
from service.storage.timestamp import now

SIGNALS = jobs.c.cancel_requested, jobs.c.pause_requested


def held(job_id: Any, worker_id: Any, attempt: Any) -> ColumnElement[bool]:
    """Return the condition that a worker holds a job in this attempt."""
    return and_(
        jobs.c.status == JobStatus.RUNNING,
        jobs.c.id == job_id,
        jobs.c.worker_id == worker_id,
        jobs.c.attempt == attempt,
    )


def _new(column: Column[Any]) -> ColumnElement[Any]:
    return bindparam(f"new_{column.name}", type_=column.type)


def _new_or_unchanged(column: Column[Any]) -> ColumnElement[Any]:
    return func.coalesce(_new(column), column)


_CLAIM = held(*(bindparam(f"claim_{name}") for name in ("job_id", "worker_id", "attempt")))
_PROGRESS = {
    c.name: _new_or_unchanged(c)
    for c in (jobs.c.epoch, jobs.c.latest, jobs.c.best, jobs.c.training_seconds, jobs.c.epoch_seconds)
}
_OUTCOME = {
    c.name: _new(c) for c in (jobs.c.status, jobs.c.stop_reason, jobs.c.test, jobs.c.timings, jobs.c.error)
}

RECORD = job_update(**_PROGRESS).where(_CLAIM).returning(*SIGNALS)
END = job_update(
    **_PROGRESS, **_OUTCOME, finished_at=now(), lease_expires_at=None, pause_requested=False
).where(_CLAIM)

# An existing row takes the new values: a worker that lost the response to a successful commit sends the same
# epochs again, possibly in a longer row.
ADD_HISTORY = {
    dialect: (statement := insert(history)).on_conflict_do_update(
        index_elements=[history.c.job_id, history.c.first_epoch],
        set_={name: statement.excluded[name] for name in ("last_epoch", "payload")},
    )
    for dialect, insert in INSERTS.items()
}

JOBS_WITH_CHECKPOINTS = (
    select(checkpoints.c.job_id)
    .where(checkpoints.c.job_id.in_(bindparam("job_ids", expanding=True)))
    .distinct()
)
ADD_CHECKPOINTS = checkpoints.insert().values(created_at=now())
_POSITION = tuple_(checkpoints.c.epoch, checkpoints.c.step)
_REPLACED = _POSITION.in_(bindparam("positions", expanding=True))
_DROPPED = or_(
    _REPLACED, checkpoints.c.step > 0, checkpoints.c.epoch.not_in(bindparam("keep", expanding=True))
)
_OF_JOB = delete(checkpoints).where(checkpoints.c.job_id == bindparam("its_job_id"))
DELETE_REPLACED = _OF_JOB.where(_REPLACED).returning(checkpoints.c.artifact)
DELETE_DROPPED = _OF_JOB.where(_DROPPED).returning(checkpoints.c.artifact)
