"""Reading checkpoints of a job that may be running, while its worker replaces them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from service.errors import ArtifactNotFound
from service.storage.checkpoints import Checkpoint
from service.storage.storage import Storage

T = TypeVar("T")


def read_checkpoint(
    storage: Storage,
    owner: str,
    job_id: str,
    choose: Callable[[Sequence[Checkpoint]], Checkpoint],
    read: Callable[[Checkpoint], T],
) -> T:
    """Choose a checkpoint and read it; start over if it was replaced before it could be read.

    Args:
        storage: Where the job's checkpoints are.
        owner: The job's owner.
        job_id: The job.
        choose: Returns one of the job's checkpoints.
        read: Reads the artifact of the chosen checkpoint.

    Returns:
        The result of `read`.

    Raises:
        JobNotFound: The owner has no such job.
        ArtifactNotFound: The artifact is missing, although the checkpoint was not replaced.
    """
    gone = None  # the checkpoint that the last attempt could not read
    while True:
        row = choose(storage.checkpoints.of_job(owner, job_id))
        try:
            return read(row)
        except ArtifactNotFound:
            if row == gone:
                raise
            gone = row
