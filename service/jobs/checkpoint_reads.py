"""Reading a checkpoint of a job that may run: its worker replaces the newest one meanwhile."""

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
    """What is read of one of a job's checkpoints.

    Args:
        choose: one of the job's checkpoints; once more, where the first was replaced before it was read.
        read: given the chosen one, gets its artifact.

    Raises:
        JobNotFound: when the owner has no such job.
        ArtifactNotFound: when a checkpoint's artifact is gone, and it was not replaced.
    """
    gone = None
    while True:
        row = choose(storage.checkpoints.of_job(owner, job_id))
        try:
            return read(row)
        except ArtifactNotFound:
            if row == gone:
                raise
            gone = row
