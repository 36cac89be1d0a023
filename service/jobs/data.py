"""The data of an accepted job: the data section of its request and its datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import torch

from service.architectures.build import input_names
from service.datasets.dataset import Dataset, load_dataset
from service.datasets.prepare.declared_data import TargetType
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.ids import RowIds
from service.datasets.prepare.prepare import (
    JobDatasets,
    Prepared,
    flatten_targets,
    prepare,
    renumber,
    rows_by_split,
    series_by_split,
)
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.workspace import Workspace
from service.datasets.validation import ErrorCollector
from service.errors import DatasetNotFound
from service.specs.architecture import read_architecture
from service.specs.component import ComponentSpec
from service.specs.data import DatasetReference
from service.specs.split import SPLIT_NAMES, SplitName
from service.specs.transforms import Label
from service.storage.job_record import Job
from service.storage.storage import Storage
from service.training.losses import LOSSES, loss_of

REPORTED_CLASSES = "classes"
"""Entry of a job's report: the labels in the order of the outputs, or `INDICES`; null without classes."""
REPORTED_TARGETS = "target_shape"
"""Entry of a job's report: shape of the targets, with null for the batch."""
INDICES = "indices"
"""The targets are indices of outputs."""


@dataclass(frozen=True, eq=False)
class JobData:
    """The data of a job.

    Attributes:
        declared: The data section, which refers to the job's dataset by id.
        datasets: The datasets.
        target_type: Type of targets that the loss needs.
        input_names: The names of the model's inputs.
        ignored: The label that the loss ignores; None for a loss that ignores none.
        report: The job's report, which has the numbers of the classes.
    """

    declared: DatasetReference
    datasets: JobDatasets
    target_type: TargetType
    input_names: Sequence[str] | None
    ignored: int | None
    report: Mapping[str, Any]

    @classmethod
    def of(cls, job: Job, storage: Storage) -> "JobData":
        """Find the data of a job.

        Raises:
            DatasetNotFound: A dataset was deleted after the job had ended.
        """
        request, report = orjson.loads(job.request), orjson.loads(job.report)
        loss = ComponentSpec.model_validate(request["training"]["loss"])
        declared = DatasetReference.model_validate({**request["data"], "dataset_id": job.dataset_id})
        others = declared.split.dataset_ids()
        dataset = _dataset(job, job.dataset_id, storage)
        return cls(
            declared,
            JobDatasets(
                dataset,
                {split: _dataset(job, dataset_id, storage) for split, dataset_id in others.items()},
            ),
            loss_of(loss).target_type(dataset, declared),
            input_names(read_architecture(request["architecture"])),
            LOSSES[loss.type].ignored(loss.arguments()) if ignores_labels(report) else None,
            report,
        )

    def prepare(self, workspace: Workspace) -> Prepared:
        """Split, transform and encode the data; see `service.datasets.prepare.prepare`."""
        prepared = prepare(
            self.datasets, self.declared, self.target_type, self.input_names, workspace, self.ignored
        )
        numbered = number_as_reported(prepared, self.declared.classes, self.report)
        return flatten_targets(numbered, self.report.get(REPORTED_TARGETS, [None, None])[1:])

    def raw_rows(self, split: SplitName, encoding: Encoding) -> RawRows:
        """Return the rows of a split, in the order of training, to be encoded slice by slice.

        Args:
            split: The split.
            encoding: The encoding that was stored with the job's model.
        """
        dataset = self.datasets.whole_splits.get(split, self.datasets.dataset)
        reading = encoding.table_reading
        raw = RawRows.of(
            # The words for a missing value in the training data are its own.
            reading if split in self.datasets.whole_splits else reading._replace(known=None),
            dataset,
            encoding.labelled_columns,
            lambda name: "?split",
            ErrorCollector(),
        )
        series = series_by_split(self.datasets, self.declared, self.target_type, self.input_names).get(split)
        return raw._replace(rows=self.rows()[split][1], series=series)

    def row_ids(self, split: SplitName, encoding: Encoding) -> RowIds:
        """Return the ids of the rows of the dataset that has a split."""
        dataset = self.datasets.whole_splits.get(split, self.datasets.dataset)
        return RowIds(encoding.id, dataset, dataset.rows)

    def rows(self) -> Mapping[SplitName, tuple[str, torch.Tensor]]:
        """For each split, the id of its dataset and its row numbers, int64 [n], in the order of training."""
        rows = rows_by_split(self.datasets, self.declared, self.target_type, self.input_names)
        others = self.declared.split.dataset_ids()
        return {split: (others.get(split, self.declared.dataset_id), rows[split]) for split in SPLIT_NAMES}


def ignores_labels(report: Mapping[str, Any]) -> bool:
    """Return whether `ignore_index` of a job is a label; in jobs of earlier versions it is an index."""
    return REPORTED_CLASSES in report


def number_as_reported(
    prepared: Prepared, declared: Sequence[Label] | None, report: Mapping[str, Any]
) -> Prepared:
    """Number the classes as the preflight of a job did, whose choice is in the report.

    Args:
        prepared: The data, with the classes that are declared or else in sorted order.
        declared: The list `data.classes`, which decides alone.
        report: The report; those of earlier versions say nothing, and the order is sorted.
    """
    numbers = report.get(REPORTED_CLASSES)
    if declared is not None or numbers is None:
        return prepared
    return renumber(prepared, range(report["output_width"]) if numbers == INDICES else numbers)


def _dataset(job: Job, dataset_id: str, storage: Storage) -> Dataset:
    try:
        artifact = storage.datasets.get(job.owner, dataset_id).artifact
    except DatasetNotFound:
        raise DatasetNotFound(f"The job's dataset `{dataset_id}` was deleted.") from None
    return storage.artifacts.load(artifact, load_dataset)


def split_document(data: JobData, offset: int, limit: int) -> dict[str, Any]:
    """List up to `limit` rows of each split, starting at `offset`."""
    return {
        split: {
            "dataset_id": dataset_id,
            "total": len(rows),
            "rows": rows[offset : offset + limit].tolist(),
        }
        for split, (dataset_id, rows) in data.rows().items()
    }
