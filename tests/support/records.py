"""A job and a dataset to store, with some fields as a test needs them."""

from typing import Any

from service.storage.claims import ClaimStore
from service.storage.datasets import NewDataset
from service.storage.job_record import Job, NewJob

OWNER = "ada"


def new_job(**changes: Any) -> NewJob:
    """A job to submit."""
    values: dict[str, Any] = {
        "name": None,
        "request": '{"training": {"epochs": 10}}',
        "report": "{}",
        "used": '{"device": "cpu", "engine": "eager"}',
        "device": "cpu",
        "group_key": "g",
        "parameter_count": 25,
        "memory_estimate_bytes": 100,
        "epochs": 10,
    }
    return NewJob(**(values | changes))


def new_dataset(digest: str = "d1", inline: bool = False) -> NewDataset:
    """A dataset to add; the digest stands for its content."""
    artifact = f"datasets/{digest}"
    return NewDataset(None, digest, "tabular", 11, bytes=100, artifact=artifact, report="{}", inline=inline)


def claimed(claims: ClaimStore, worker_id: str = "w", lease_seconds: float = 30) -> Job:
    """The next job of the CPU's queue, which there is."""
    job = claims.claim(worker_id, ["cpu"], lease_seconds)
    assert job is not None
    return job
