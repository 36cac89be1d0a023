"""Soft labels: for each row the probability of each class, instead of one label."""

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.sources.columns import INTEGER, NUMBER
from service.specs.data import DataDeclaration


def has_soft_labels(dataset: Dataset, data: DataDeclaration) -> bool:
    """Return whether the targets of a loss of classes are probabilities.

    They are for several target columns of numbers, and for tensors of floating point [B, classes, …]; tensors
    of integers are labels.
    """
    if data.classes is not None:
        return False
    if isinstance(dataset, TabularDataset):
        targets = getattr(data, "targets", None)
        columns = [name for name in targets or () if name in dataset.table.column_names]
        return len(columns) > 1 and all(dataset.table[name].type in (INTEGER, NUMBER) for name in columns)
    values = dataset.targets
    return values is not None and values.dtype.kind == "f" and values.ndim > 1 and values.shape[1] > 1
