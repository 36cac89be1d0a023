"""The worker processes of a real service."""

from contextlib import suppress

import psutil

from tests.support.server import Service, until


def workers(service: Service) -> list[psutil.Process]:
    """Return the worker processes of a service, without those that have just ended."""
    found = []
    for worker in service.read("/v1/system")["workers"]:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(worker["pid"]))
    return found


def wait_for_workers(service: Service, number: int) -> list[psutil.Process]:
    """Wait until a service has this number of worker processes and return them."""
    return until(lambda: found if len(found := workers(service)) == number else None)


def worker_of(service: Service, job_id: str) -> psutil.Process:
    """Return the worker process that claimed a job last."""
    claimed = [each for each in service.messages(job_id) if each.startswith("Claimed by worker ")]
    name = claimed[-1].split()[3].rstrip(".,")
    (pid,) = (each["pid"] for each in service.read("/v1/system")["workers"] if each["id"] == name)
    return psutil.Process(pid)
