"""Suggestions of loss and metrics for a dataset's targets; never applied without the client's request."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.sources.columns import BOOLEAN, INTEGER, NUMBER, TEXT
from service.training.metrics import USUAL_METRICS, Task

Column = NDArray[Any]

_LOSSES: Mapping[Task, str] = {
    "regression": "MSELoss",
    "binary": "BCEWithLogitsLoss",
    "multiclass": "CrossEntropyLoss",
    "multilabel": "BCEWithLogitsLoss",
}
# Integers 0, 1, …, of which every one occurs and some repeat, are classes up to this number.
_MAX_INTEGER_CLASSES = 100
# Other integers may be classes if they are few and repeat often.
_MAX_REPEATED_CLASSES = 20
_MIN_ROWS_PER_CLASS = 10


@dataclass(frozen=True)
class Suggestion:
    """Loss and metrics that are usual for a task.

    Attributes:
        task: The task.
        loss: Class name of the loss in `torch.nn`.
        metrics: Short names of metrics.
        outputs: Size of the model's output in dimension 1.
        is_certain: Whether the targets can hardly be numbers of a quantity instead.
    """

    task: Task
    loss: str
    metrics: tuple[str, ...]
    outputs: int
    is_certain: bool = True

    def document(self) -> dict[str, Any]:
        """Return the suggestion as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "is_certain"}

    def advice(self) -> str:
        """Return the suggestion as a sentence, with the fields to add as JSON; two if it is uncertain."""
        advice = f"The targets look like those of a {self.task} task: {self._fields()}."
        if self.is_certain:
            return advice
        return f"{advice} If they are values of a quantity, {_suggestion('regression', 1)._fields()}."

    def _fields(self) -> str:
        fields = f'"loss": {json.dumps(self.loss)}, "metrics": {json.dumps(self.metrics)}'
        outputs = "1 output" if self.outputs == 1 else f"{self.outputs} outputs"
        return f"add `{fields}`, and give the model {outputs}"


def suggest(dataset: Dataset, targets: Sequence[str]) -> Suggestion | None:
    """Suggest loss and metrics for the targets of a dataset.

    Args:
        dataset: The dataset.
        targets: Names of the target columns of a table; ignored for tensors.

    Returns:
        The suggestion; None if the targets don't determine a task.
    """
    if not isinstance(dataset, TabularDataset):
        return None if dataset.targets is None else _for_tensor(dataset.targets)
    present = set(dataset.table.column_names)
    columns = [dataset.table[name].drop_null() for name in targets if name in present]
    if len(columns) == 1 and columns[0].type == TEXT:
        labels = len(columns[0].unique())
        return _suggestion("binary", 1) if labels == 2 else _for_classes(labels)
    if not columns or any(
        column.type not in (INTEGER, NUMBER, BOOLEAN, TEXT) or not len(column) for column in columns
    ):
        return None
    if any(column.type == TEXT for column in columns):
        pairs = all(
            len(column.unique()) == 2 if column.type == TEXT else _is_binary(column.to_numpy())
            for column in columns
        )
        return _suggestion("multilabel", len(columns)) if pairs else None
    return _for_columns([column.to_numpy() for column in columns])


def _for_tensor(targets: Column) -> Suggestion | None:
    if targets.ndim == 1:  # targets [B] are class indices, values are [B, k]
        return _for_classes(len(np.unique(targets)))
    if targets.ndim == 2:
        columns = [column[~np.isnan(column)] for column in targets.T]  # without missing targets
        return _for_columns(columns) if all(map(len, columns)) else None
    return _suggestion("regression", targets.shape[1])


def _for_classes(classes: int) -> Suggestion | None:
    return _suggestion("multiclass", classes) if classes > 1 else None


def _for_columns(columns: list[Column]) -> Suggestion:
    if all(map(_is_binary, columns)):
        return _suggestion("binary" if len(columns) == 1 else "multilabel", len(columns))
    if len(columns) == 1 and (classes := _integer_classes(columns[0])):
        return classes
    return _suggestion("regression", len(columns))


def _is_binary(column: Column) -> bool:
    return bool(((column == 0) | (column == 1)).all())


def _integer_classes(column: Column) -> Suggestion | None:
    """Suggest classes for integers that repeat; None for other numbers."""
    distinct = np.unique(column)
    count = len(distinct)
    if (distinct % 1).any() or count in (1, len(column)):
        return None
    if count <= _MAX_INTEGER_CLASSES and distinct[0] == 0 and distinct[-1] == count - 1:
        return _suggestion("multiclass", count)
    if count <= _MAX_REPEATED_CLASSES and len(column) >= _MIN_ROWS_PER_CLASS * count:
        return _suggestion("multiclass", count, is_certain=False)
    return None


def _suggestion(task: Task, outputs: int, is_certain: bool = True) -> Suggestion:
    return Suggestion(task, _LOSSES[task], USUAL_METRICS[task], outputs, is_certain)
