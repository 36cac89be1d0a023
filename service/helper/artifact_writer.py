"""Writing the artifacts of new datasets and jobs, ahead of the commit of their rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import orjson

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.profile.report import describe
from service.datasets.write_dataset import DatasetType, StoredDataset
from service.preflight.result import PreflightResult
from service.storage.checkpoints import NewCheckpoint
from service.storage.datasets import NewDataset
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import NewJob, StartingPoint
from service.storage.parameter_sets import NewParameterSet
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.parameter_files import StoredTensor


class ArtifactWriter:
    """Write artifacts and make the rows that name them, for the service process to commit."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def plan_job(self, owner: str, result: PreflightResult, idempotency: IdempotencyKey | None) -> PlannedJob:
        """Write a job's inline data and its first checkpoint, where it has them."""
        job = NewJob(
            name=result.name,
            request=_json(result.request),
            report=_json(result.report),
            used=_json(result.used),
            device=result.used["device"],
            group_key=result.group_key,
            parameter_count=result.parameter_count,
            memory_estimate_bytes=result.memory_estimate_bytes,
            epochs=result.request["training"]["epochs"],
            priority=result.priority,
            warnings=_json(result.report["warnings"]),
            processes=result.parallel.processes,
            min_processes=result.parallel.fewest,
        )
        return PlannedJob(
            job,
            dataset=result.dataset_id or self._add_inline_dataset(owner, result.dataset),
            start=self._first_checkpoint(job.id, result),
            other_dataset_ids=result.other_dataset_ids,
            parameter_set_id=result.request["training"]["initial_parameters"],
            idempotency=idempotency,
        )

    def add_dataset(
        self,
        owner: str,
        stored: StoredDataset,
        content: bytes | Path,
        name: str | None,
        *,
        inline: bool = False,
    ) -> NewDataset | str:
        """Write the content of a dataset, unless the owner already has a dataset of equal content.

        Args:
            owner: The client.
            stored: The digest of the content and its report.
            content: The bytes, or a file that holds them.
            name: The dataset's name.
            inline: Whether it came with a job.

        Returns:
            The row to commit, or the id of the dataset of equal content.

        Raises:
            StorageFull: There is no room for it.
        """
        found = self._storage.datasets.find(owner, stored.digest)
        if found is not None:
            return found.id
        if isinstance(content, Path):
            self._storage.room.check_quota(stored.bytes)  # it is on the disk already
        else:
            self._storage.room.check(stored.bytes)
        return NewDataset(
            name=name,
            digest=stored.digest,
            kind=stored.kind,
            rows=stored.rows,
            bytes=stored.bytes,
            artifact=self._storage.artifacts.put("datasets", content),
            report=_json(stored.report),
            inline=inline,
        )

    def add_parameter_set(
        self, owner: str, file: Path, name: str | None, tensors: Sequence[StoredTensor]
    ) -> NewParameterSet | str:
        """Store the file of a parameter set, unless the owner already has one of equal content.

        Args:
            owner: The client.
            file: The file, which is moved.
            name: The parameter set's name.
            tensors: The tensors of the file.

        Returns:
            The row to commit, or the id of the parameter set of equal content.

        Raises:
            StorageFull: There is no room for it.
        """
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        found = self._storage.parameter_sets.find(owner, digest)
        if found is not None:
            return found.id
        size = file.stat().st_size
        self._storage.room.check_quota(size)  # it is on the disk already
        return NewParameterSet(
            name=name,
            digest=digest,
            bytes=size,
            tensor_count=len(tensors),
            artifact=self._storage.artifacts.put("parameters", file),
            tensors=_json(tensors),
        )

    def _add_inline_dataset(self, owner: str, dataset: Dataset) -> NewDataset | str:
        digest = dataset.digest
        found = self._storage.datasets.find(owner, digest)
        if found is not None:  # spares the report
            return found.id
        content = dataset.to_bytes()
        kind: DatasetType = "tabular" if isinstance(dataset, TabularDataset) else "tensors"
        stored = StoredDataset(kind, dataset.rows, len(content), digest, describe(dataset))
        return self.add_dataset(owner, stored, content, None, inline=True)

    def _first_checkpoint(self, job_id: str, result: PreflightResult) -> StartingPoint | None:
        if result.parent is None:
            return None
        resume = result.request["training"]["resume"]
        content, epoch, step = result.parent.first_checkpoint(self._storage, resume, result.encoding)
        self._storage.room.check(len(content))
        artifact = self._storage.artifacts.put(f"checkpoints/{job_id}", content)
        return StartingPoint(result.parent.job.id, NewCheckpoint(epoch, artifact, len(content), step))


def _json(document: object) -> str:
    return orjson.dumps(document).decode()
