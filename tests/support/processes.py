"""The worker processes of a real service."""

from contextlib import suppress

import psutil
from sqlalchemy import create_engine, select

from service.storage import tables
from tests.support.server import Service, until


def worker_pids(service: Service) -> dict[str, int]:
    """Return the process id of each live worker, which the API does not show, by the worker's id."""
    alive = [worker["id"] for worker in service.read("/v1/system")["workers"]]
    table, engine = tables.workers, create_engine(service.database_url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(select(table.c.id, table.c.pid).where(table.c.id.in_(alive)))
            return {row.id: row.pid for row in rows}
    finally:
        engine.dispose()


def workers(service: Service) -> list[psutil.Process]:
    """Return the worker processes of a service, without those that have just ended."""
    found = []
    for pid in worker_pids(service).values():
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def wait_for_workers(service: Service, number: int) -> list[psutil.Process]:
    """Wait until a service has this number of worker processes and return them."""
    return until(lambda: found if len(found := workers(service)) == number else None)


def worker_of(service: Service, job_id: str) -> psutil.Process:
    """Return the worker process that claimed a job last."""
    claimed = [each for each in service.messages(job_id) if each.startswith("Claimed by worker ")]
    name = claimed[-1].split()[3].rstrip(".,")
    return psutil.Process(worker_pids(service)[name])
