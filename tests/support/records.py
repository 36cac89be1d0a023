"""Jobs, datasets and claims for tests of storage."""

from collections.abc import Callable
from typing import Any, TypeAlias

from service.specs.job import JobStatus, StopReason
from service.storage.claims import ClaimStore, Outcome
from service.storage.datasets import NewDataset
from service.storage.job_record import Job, NewJob

OWNER = "ada"
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED)
LOCK_WAIT_SECONDS = 0.5  # enough for another transaction to reach the point where it waits for a lock
Submit: TypeAlias = Callable[..., Job]


def new_job(**changes: Any) -> NewJob:
    """Return a job to submit, with some fields changed."""
    values: dict[str, Any] = {
        "name": None,
        "request": '{"training": {"epochs": 10}}',
        "report": '{"output_width": 1}',
        "used": '{"device": "cpu", "engine": "eager"}',
        "device": "cpu",
        "group_key": "g",
        "parameter_count": 25,
        "memory_estimate_bytes": 100,
        "epochs": 10,
    }
    return NewJob(**(values | changes))


def new_dataset(digest: str = "d1", inline: bool = False) -> NewDataset:
    """Return a dataset to add; datasets with equal digests have equal content."""
    artifact = f"datasets/{digest}"
    return NewDataset(None, digest, "tabular", 11, bytes=100, artifact=artifact, report="{}", inline=inline)


def claimed(claims: ClaimStore, worker_id: str = "w", lease_seconds: float = 30) -> Job:
    """Claim the next job of the CPU queue, which must not be empty."""
    job = claims.claim(worker_id, ["cpu"], lease_seconds)
    assert job is not None
    return job
