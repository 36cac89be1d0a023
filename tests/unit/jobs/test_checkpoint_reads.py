"""Reads of checkpoints that a worker replaces."""

from collections.abc import Callable, Sequence

import pytest

from service.errors import ArtifactNotFound, JobNotFound
from service.jobs.checkpoint_reads import read_checkpoint
from service.storage.checkpoints import Checkpoint, NewCheckpoint
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from tests.support.records import OWNER, claimed, new_dataset, new_job


@pytest.fixture
def claim(storage: Storage) -> Claim:
    """The claim of a running job."""
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    return Claim.of(claimed(storage.claims))


def save(storage: Storage, claim: Claim, epoch: int) -> str:
    """Save a checkpoint as a worker does, and return the name of its artifact."""
    content = str(epoch).encode()
    name = storage.artifacts.put(f"checkpoints/{claim.job_id}", content)
    for replaced in storage.claims.save_checkpoint(claim, NewCheckpoint(epoch, name, len(content)), keep=[]):
        storage.artifacts.delete(replaced)
    return name


def newest(
    storage: Storage, job_id: str, interrupt: Callable[[], object] = lambda: None
) -> tuple[int, bytes]:
    """Return epoch and content of the newest checkpoint; call `interrupt` between reading row and file."""

    def choose(rows: Sequence[Checkpoint]) -> Checkpoint:
        interrupt()
        return rows[-1]

    return read_checkpoint(
        storage, OWNER, job_id, choose, lambda row: (row.epoch, storage.artifacts.get(row.artifact))
    )


def test_a_replaced_checkpoint_is_read_again(storage: Storage, claim: Claim) -> None:
    """A checkpoint that is replaced between the reads of row and file is read again."""
    save(storage, claim, 1)
    epochs = iter(range(2, 5))

    def saves_three_times() -> None:
        if (epoch := next(epochs, None)) is not None:
            save(storage, claim, epoch)

    assert newest(storage, claim.job_id, saves_three_times) == (4, b"4")


def test_a_missing_file_is_an_error(storage: Storage, claim: Claim) -> None:
    """A missing file of an existing row is an error, not an endless loop."""
    storage.artifacts.delete(save(storage, claim, 1))
    with pytest.raises(ArtifactNotFound):
        newest(storage, claim.job_id)
    with pytest.raises(JobNotFound):
        newest(storage, "job_gone")
