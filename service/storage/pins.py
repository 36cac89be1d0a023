"""Datasets and parameter sets are pinned while a job that has not ended refers to them."""

from sqlalchemy import Connection, or_, select

from service.specs.job import JobStatus
from service.storage.tables import jobs

ACTIVE = [status for status in JobStatus if not status.ended]


def pinning_job(connection: Connection, resource_id: str) -> str | None:
    """Return the id of a job that has not ended and refers to a resource; None if there is none.

    Lock the resource first: a concurrent submission is then either seen here or finds no resource.

    Args:
        connection: The transaction that deletes the resource.
        resource_id: Id of a dataset or a parameter set.
    """
    # Apart from a job's own dataset, resources appear in the request only; no other text looks like an id.
    uses = or_(jobs.c.dataset_id == resource_id, jobs.c.request.contains(resource_id, autoescape=True))
    pinning: str | None = connection.scalar(select(jobs.c.id).where(jobs.c.status.in_(ACTIVE), uses).limit(1))
    return pinning
