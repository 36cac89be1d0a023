"""What would suit the targets of a dataset: told to a client who asks, never chosen for one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.sources.columns import BOOLEAN, NUMBER, TEXT
from service.training.metrics import USUAL_METRICS, Task

Column = NDArray[Any]

_LOSSES: Mapping[Task, str] = {
    "regression": "MSELoss",
    "binary": "BCEWithLogitsLoss",
    "multiclass": "CrossEntropyLoss",
    "multilabel": "BCEWithLogitsLoss",
}
# Whole numbers 0, 1, …, all of them there, are taken for classes up to so many: counts are rarely like that.
_MOST_NUMBERED_CLASSES = 100


@dataclass(frozen=True)
class Suggestion:
    """What usually is taken for targets of a kind.

    Attributes:
        outputs: the size of the model's output in dimension 1.
    """

    task: Task
    loss: str
    metrics: tuple[str, ...]
    outputs: int

    def advice(self) -> str:
        """The suggestion as a sentence, with the fields to add as JSON."""
        fields = f'"loss": {json.dumps(self.loss)}, "metrics": {json.dumps(self.metrics)}'
        outputs = "1 output" if self.outputs == 1 else f"{self.outputs} outputs"
        return (
            f"The targets look like those of a {self.task} task: add `{fields}`, "
            f"and let the model give {outputs}."
        )


def suggest(dataset: Dataset, targets: Sequence[str]) -> Suggestion | None:
    """A suggestion for the targets of a dataset; None where nothing can be told from them.

    Args:
        targets: the target columns of a table; without meaning for tensors.
    """
    if not isinstance(dataset, TabularDataset):
        return None if dataset.targets is None else _for_tensor(dataset.targets)
    columns = [dataset.table[name].drop_null() for name in targets if name in dataset.table.column_names]
    if len(columns) == 1 and columns[0].type == TEXT:
        labels = len(columns[0].unique())
        return _suggestion("binary", 1) if labels == 2 else _for_classes(labels)
    if not columns or any(column.type not in (NUMBER, BOOLEAN) or not len(column) for column in columns):
        return None
    return _for_columns([column.to_numpy() for column in columns])


def _for_tensor(targets: Column) -> Suggestion | None:
    if targets.ndim == 1:  # only class indices are [B]
        return _for_classes(len(np.unique(targets)))
    if targets.ndim == 2:
        return _for_columns(list(targets.T))
    return _suggestion("regression", targets.shape[1])


def _for_classes(classes: int) -> Suggestion | None:
    return _suggestion("multiclass", classes) if classes > 1 else None


def _for_columns(columns: list[Column]) -> Suggestion:
    if all(((column == 0) | (column == 1)).all() for column in columns):
        return _suggestion("binary" if len(columns) == 1 else "multilabel", len(columns))
    if len(columns) == 1 and (classes := _numbered_classes(columns[0])):
        return _suggestion("multiclass", classes)
    return _suggestion("regression", len(columns))


def _numbered_classes(column: Column) -> int:
    """How many classes the numbers 0, 1, … of a column count; 0 where they are something else."""
    if column.min() != 0 or column.max() >= _MOST_NUMBERED_CLASSES or (column % 1).any():
        return 0
    distinct = len(np.unique(column))
    return distinct if distinct == column.max() + 1 else 0


def _suggestion(task: Task, outputs: int) -> Suggestion:
    return Suggestion(task, _LOSSES[task], USUAL_METRICS[task], outputs)
