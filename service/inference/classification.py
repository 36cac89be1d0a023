"""Reports of a classification: confusion matrix, figures per class, and curves over all thresholds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.datasets.prepare.encoding import IGNORED, Encoding, class_positions
from service.inference.model import TrainedModel
from service.inference.predictions import decide_labels, of_classes
from service.specs.transforms import Label
from service.training.labels import target_names
from service.training.metrics import THRESHOLD, Task

# A confusion matrix of k classes has k² counts.
MAX_CLASSES = 1000
# The scores of all rows are kept until the curves are computed: float32 [n, classes].
MAX_CURVE_CLASSES = 100
MAX_CURVE_POINTS = 1000


def class_names(model: TrainedModel, task: Task, outputs: Tensor) -> list[Label] | None:
    """Return what a classification distinguishes.

    Args:
        model: The model.
        task: Its task.
        outputs: Outputs of the model, [B, …].

    Returns:
        The class labels; 0 and 1 for one target of 0 and 1; the names of several such targets. None for a
        regression, and for several targets in outputs of more than two dimensions.
    """
    if task not in ("binary", "multiclass", "multilabel"):
        return None
    if task == "multilabel":
        return list(target_names(model.encoding)) if outputs.dim() == 2 else None
    return list(model.classes or (0, 1))


def has_threshold(task: Task) -> bool:
    """Return whether labels follow from a threshold of probabilities, instead of the highest score."""
    return task in ("binary", "multilabel")


def positions_of(encoding: Encoding, targets: Tensor) -> Tensor:
    """Return the positions in `classes` of encoded labels [B, …], int64; −1 for one that is no class."""
    if encoding.is_binary:
        return _zero_or_one(targets)
    if encoding.classes is None:  # soft labels [B, k, …]
        return targets.argmax(dim=1)
    return torch.where(targets == IGNORED, -1, class_positions(encoding, targets))


def _zero_or_one(targets: Tensor) -> Tensor:
    """Return targets of 0 and 1 [B, …], or such probabilities, as int64; −1 for a missing one."""
    return torch.where(targets.isnan(), -1, (targets >= THRESHOLD).long())


class Counts:
    """Counts positions by actual and predicted class over slices of rows.

    A row is one position; outputs [B, k, d1, …] have d1 · … of them. Targets that are no class, such as
    `ignore_index`, and missing ones are not counted.

    Args:
        model: The model.
        task: Its task.
        classes: See `class_names`; at most `MAX_CLASSES`.
        threshold: Minimum probability for which a binary prediction is 1.
    """

    def __init__(self, model: TrainedModel, task: Task, classes: Sequence[Label], threshold: float) -> None:
        self._model = model
        self._task = task
        self._classes = classes
        self._threshold = threshold
        # int64 [classes, classes], the actual class in dimension 0; for several targets int64 [k, 2, 2]
        shape = (len(classes), 2, 2) if task == "multilabel" else (len(classes), len(classes))
        self._cells = torch.zeros(shape, dtype=torch.int64)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the next rows: the model's outputs [B, …] and encoded targets [B, …]."""
        predicted = decide_labels(self._model, outputs, self._threshold)
        assert predicted is not None  # a classification
        if self._task == "multiclass":
            actual = positions_of(self._model.encoding, targets)
        else:
            actual = _zero_or_one(targets)
        if self._task == "multilabel":
            # [B, k], row-major indices into each 2 × 2 matrix; a missing target is in no cell
            cells = 2 * actual + predicted
            counts = torch.stack([(cells == cell).sum(dim=0) for cell in range(4)], dim=1)  # [k, 4]
        else:
            count = len(self._classes)
            actual, predicted = actual.flatten(), predicted.flatten()  # [B · …]
            is_class = actual >= 0
            cells = count * actual[is_class] + predicted[is_class]  # row-major indices into the matrix
            counts = cells.bincount(minlength=count**2)
        self._cells += counts.reshape(self._cells.shape)

    def confusion_matrix(self) -> dict[str, Any]:
        """Return the number of positions by actual and predicted class."""
        return {"classes": list(self._classes), "matrix": self._cells.tolist()}

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 score and support of each class.

        A ratio of 0 / 0 is 0, as in torchmetrics and scikit-learn.
        """
        cells = self._cells.double()
        if self._task == "multilabel":  # of 1, for each target
            found, predicted, support = cells[:, 1, 1], cells[:, :, 1].sum(dim=1), cells[:, 1].sum(dim=1)
        else:
            found, predicted, support = cells.diagonal(), cells.sum(dim=0), cells.sum(dim=1)
        figures: dict[str, Sequence[Any]] = {
            "class": self._classes,
            "precision": _ratio(found, predicted),
            "recall": _ratio(found, support),
            "f1_score": _ratio(2 * found, predicted + support),
            "support": support.long().tolist(),
        }
        return [dict(zip(figures, row, strict=True)) for row in zip(*figures.values(), strict=True)]


def _ratio(part: Tensor, whole: Tensor) -> list[float]:
    """part / whole, 0 where `whole` is 0."""
    return torch.where(whole > 0, part / whole.clamp(min=1), 0.0).tolist()


class Curves:
    """Collects scores over slices of rows, and computes each class's curves over all thresholds.

    Args:
        model: The model.
        task: Its task.
        classes: See `class_names`; at most `MAX_CURVE_CLASSES`.
    """

    def __init__(self, model: TrainedModel, task: Task, classes: Sequence[Label]) -> None:
        self._model = model
        self._task = task
        self._classes = classes[1:] if task == "binary" else classes  # one curve, that of the second class
        self._scores: list[Tensor] = []  # each float32 [B, k]
        self._labels: list[Tensor] = []  # each int64 [B, k], −1 for a missing target

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the next rows: the model's outputs [B, k] and encoded targets [B] or [B, k]."""
        count = len(self._classes)
        if self._task == "multiclass":
            positions = positions_of(self._model.encoding, targets)
            outputs = outputs[positions >= 0]
            labels = (positions[positions >= 0, None] == torch.arange(count)).long()
        else:
            labels = _zero_or_one(targets).reshape(-1, count)
        probabilities = self._model.loss.probabilities
        scores = outputs if probabilities is None else probabilities(outputs)
        if self._task == "multiclass":
            scores = of_classes(self._model.encoding, scores)
        self._scores.append(scores.reshape(len(labels), -1))
        self._labels.append(labels)

    def document(self) -> list[dict[str, Any]] | None:
        """Compute the curves of each class that has targets; None if none has any."""
        scores, labels = torch.cat(self._scores).numpy(), torch.cat(self._labels).numpy()
        curves = []
        for index, label in enumerate(self._classes):
            known = labels[:, index] >= 0
            if known.any():
                counts = _count_by_threshold(scores[known, index], labels[known, index] == 1)
                curves.append({"class": label, **self._curves(counts)})
        return curves or None

    def _curves(self, counts: "_ByThreshold") -> dict[str, Any]:
        best = _best_f1(counts) if has_threshold(self._task) else None
        return {"roc": _roc(counts), "precision_recall": _precision_recall(counts), "best_f1": best}


class _ByThreshold(NamedTuple):
    """Counts of the rows whose score is at least a threshold, for each distinct score.

    Attributes:
        thresholds: The scores, float32 [m], descending.
        true_positives: float64 [m].
        false_positives: float64 [m].
    """

    thresholds: NDArray[np.float32]
    true_positives: NDArray[np.float64]
    false_positives: NDArray[np.float64]


def _count_by_threshold(scores: NDArray[np.float32], positives: NDArray[np.bool_]) -> _ByThreshold:
    """Count the rows [n] above each distinct score."""
    order = np.argsort(-scores, kind="stable")
    scores, positives = scores[order], positives[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # last row of each distinct score
    found = np.cumsum(positives, dtype=np.float64)[last]
    return _ByThreshold(scores[last], found, 1.0 + last - found)


def _roc(counts: _ByThreshold) -> dict[str, Any]:
    """Compute the points of `sklearn.metrics.roc_curve`, thinned out to `MAX_CURVE_POINTS`.

    The first threshold is infinite: nothing is predicted as positive. Points on a straight line between
    their neighbours are omitted, as scikit-learn does.
    """
    thresholds, found, wrong = counts
    if len(found) > 2:
        is_corner = np.concatenate([[True], (np.diff(found, 2) != 0) | (np.diff(wrong, 2) != 0), [True]])
        thresholds, found, wrong = thresholds[is_corner], found[is_corner], wrong[is_corner]
    found, wrong = np.append(0.0, found), np.append(0.0, wrong)
    kept = _thinned(len(found))
    return {
        "fpr": _share(wrong)[kept].tolist(),
        "tpr": _share(found)[kept].tolist(),
        "thresholds": np.append(np.inf, thresholds.astype(np.float64))[kept].tolist(),
    }


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the last count; NaN if it is 0."""
    return counts / counts[-1] if counts[-1] else np.full(len(counts), np.nan)


def _precision_recall(counts: _ByThreshold) -> dict[str, Any]:
    """Compute the points of `sklearn.metrics.precision_recall_curve`, thinned out to `MAX_CURVE_POINTS`.

    Thresholds ascend. The last point, precision 1 and recall 0, has none.
    """
    precision, recall = _precision_and_recall(counts)
    kept = _thinned(len(precision) + 1)
    return {
        "precision": np.append(precision[::-1], 1.0)[kept].tolist(),
        "recall": np.append(recall[::-1], 0.0)[kept].tolist(),
        "thresholds": counts.thresholds[::-1].astype(np.float64)[kept[:-1]].tolist(),
    }


def _precision_and_recall(counts: _ByThreshold) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall at each threshold; recall is 1 without positive targets."""
    found = counts.true_positives
    recall = found / found[-1] if found[-1] else np.ones(len(found))
    return found / (found + counts.false_positives), recall


def _best_f1(counts: _ByThreshold) -> dict[str, float]:
    """Return the threshold with the highest F1 score, the highest such threshold, and that score."""
    found, wrong = counts.true_positives, counts.false_positives
    scores = 2 * found / (found + wrong + found[-1])  # 2 TP / (TP + FP + TP + FN)
    best = int(scores.argmax())
    return {"threshold": float(counts.thresholds[best]), "f1_score": float(scores[best])}


def _thinned(points: int) -> NDArray[np.int64]:
    """Return at most `MAX_CURVE_POINTS` evenly spaced positions, with the first and the last one."""
    if points <= MAX_CURVE_POINTS:
        return np.arange(points)
    return np.linspace(0, points - 1, MAX_CURVE_POINTS).round().astype(np.int64)
