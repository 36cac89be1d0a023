"""Jobs, datasets and claims for tests of storage."""

from collections.abc import Callable
from typing import Any, TypeAlias

from service.specs.job import JobStatus, StopReason
from service.storage.claims import ClaimStore, Outcome
from service.storage.datasets import NewDataset
from service.storage.job_record import Job, NewJob
from service.storage.parameter_sets import NewParameterSet

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


def new_dataset(digest: str = "d1", **changes: Any) -> NewDataset:
    """Return a dataset to add, with some fields changed; datasets with equal digests have equal content."""
    values: dict[str, Any] = {
        **{"name": None, "kind": "tabular", "rows": 11, "report": "{}"},
        **{"bytes": 100, "artifact": f"datasets/{digest}"},
    }
    return NewDataset(digest=digest, **(values | changes))


def new_parameter_set(digest: str = "d1") -> NewParameterSet:
    """Return a parameter set to add; those with equal digests have equal content."""
    return NewParameterSet(
        name="weights",
        digest=digest,
        bytes=100,
        artifact=f"parameters/{digest}",
        tensor_count=1,
        tensors=f'[{{"name": "{digest}"}}]',
    )


def claimed(claims: ClaimStore, worker_id: str = "w", lease_seconds: float = 30) -> Job:
    """Claim the next job of the CPU queue, which must not be empty."""
    job = claims.claim(worker_id, ["cpu"], lease_seconds)
    assert job is not None
    return job
