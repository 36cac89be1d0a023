"""A job that passed the preflight, as the rows to commit."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.storage.datasets import NewDataset
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import NewJob, StartingPoint


@dataclass(frozen=True)
class PlannedJob:
    """The rows of a job to queue; the artifacts that they name are already written.

    Attributes:
        job: The job's own row.
        dataset: The id of a stored dataset, or the row of one that came with the request.
        start: The parent job and the first checkpoint; None for a job that starts from scratch.
        other_dataset_ids: Further datasets that the request names, such as a validation set; they are kept
            until they are deleted.
        idempotency: The client's key and the fingerprint of its request.
        parameter_set_id: The parameter set that the job starts with; None for none.
    """

    job: NewJob
    dataset: NewDataset | str
    start: StartingPoint | None = None
    other_dataset_ids: Sequence[str] = ()
    idempotency: IdempotencyKey | None = None
    parameter_set_id: str | None = None

    def artifacts(self) -> list[str]:
        """The names of the artifacts that were written for this job and are not committed yet."""
        dataset = [self.dataset.artifact] if isinstance(self.dataset, NewDataset) else []
        return dataset if self.start is None else [*dataset, self.start.checkpoint.artifact]
