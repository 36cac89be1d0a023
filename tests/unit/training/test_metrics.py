"""Metrics equal scikit-learn's, or a plain formula, for the same predictions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]

from service.specs.component import MetricSpec
from service.training.losses import LOSSES
from service.training.metrics import METRICS, build_metric, metric_inputs, task_of
from tests.support.toys import NET, ToyData, column, engine, run, samples, training

Array = np.ndarray[Any, Any]
generator = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(50, 4, generator=generator)
CLASSES = torch.randint(4, (50,), generator=generator)
BINARY = (torch.randn(50, 4, generator=generator) > 0).float()
VALUES = OUTPUTS + 0.3 * torch.randn(50, 4, generator=generator)


def measured(name: str, loss: str, outputs: torch.Tensor, targets: torch.Tensor, **arguments: Any) -> float:
    """Compute a metric over batches of 16."""
    width = outputs.shape[1]
    task = task_of(LOSSES[loss], width)
    metric = build_metric(MetricSpec(type=name, **arguments), task, width)
    for start in range(0, len(outputs), 16):
        batch, labels = outputs[start : start + 16], targets[start : start + 16]
        metric.update(*metric_inputs(LOSSES[loss], task, batch, labels))
    return float(metric.compute())


Score = Callable[[Array, Array], float]


def classes_score(score: Callable[..., float], **more: Any) -> Score:
    """Adapt a score of predicted labels to outputs [B, k]."""
    return lambda true, outputs: score(true, outputs.argmax(axis=1), **more)


def likely_score(score: Callable[..., float], **more: Any) -> Score:
    """Adapt a score of predicted 0 and 1 to logits."""
    return lambda true, outputs: score(true, outputs > 0, **more)


MULTICLASS: dict[str, Score] = {
    "accuracy": classes_score(sklearn_metrics.accuracy_score),
    "precision": classes_score(sklearn_metrics.precision_score, average="macro"),
    "recall": classes_score(sklearn_metrics.recall_score, average="macro"),
    "f1_score": classes_score(sklearn_metrics.f1_score, average="macro"),
    "auroc": lambda true, outputs: sklearn_metrics.roc_auc_score(
        true, torch.tensor(outputs).softmax(1).numpy(), multi_class="ovr"
    ),
}
BINARY_SCORES: dict[str, Score] = {
    "accuracy": likely_score(sklearn_metrics.accuracy_score),
    "precision": likely_score(sklearn_metrics.precision_score),
    "recall": likely_score(sklearn_metrics.recall_score),
    "f1_score": likely_score(sklearn_metrics.f1_score),
    "auroc": sklearn_metrics.roc_auc_score,
}
MULTILABEL: dict[str, Score] = {
    "accuracy": lambda true, outputs: float(((outputs > 0) == true).mean()),
    "precision": likely_score(sklearn_metrics.precision_score, average="macro"),
    "recall": likely_score(sklearn_metrics.recall_score, average="macro"),
    "f1_score": likely_score(sklearn_metrics.f1_score, average="macro"),
    "auroc": sklearn_metrics.roc_auc_score,
}
REGRESSION: dict[str, Score] = {
    "explained_variance": sklearn_metrics.explained_variance_score,
    "mean_absolute_error": sklearn_metrics.mean_absolute_error,
    "mean_absolute_percentage_error": sklearn_metrics.mean_absolute_percentage_error,
    "mean_squared_error": sklearn_metrics.mean_squared_error,
    "r2_score": sklearn_metrics.r2_score,
}


def concordance(true: Array, outputs: Array) -> float:
    """Return Harrell's index: times [:, 0], events [:, 1], and outputs [:, 0] that are hazards."""
    scores = []
    for (time, event), hazard in zip(true, outputs[:, 0], strict=True):
        later = (true[:, 0] > time) | ((true[:, 0] == time) & (true[:, 1] == 0))
        if event:
            scores += [1.0 if hazard > other else 0.5 * (hazard == other) for other in outputs[later, 0]]
    return float(np.mean(scores))


SURVIVAL: dict[str, Score] = {"concordance_index": concordance}


def test_every_metric_is_compared() -> None:
    """The tests have a score of scikit-learn, or a plain formula, for each supported metric and task."""
    known = {
        "multiclass": MULTICLASS,
        "binary": BINARY_SCORES,
        "multilabel": MULTILABEL,
        "regression": REGRESSION,
        "survival": SURVIVAL,
    }
    supported = {(name, task) for name, family in METRICS.items() for task in family.classes}
    assert supported == {(name, task) for task, scores in known.items() for name in scores}


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss", "NLLLoss"])
@pytest.mark.parametrize("name", MULTICLASS)
def test_multiclass(name: str, loss: str) -> None:
    """The highest score is the prediction; AUROC is one class against the rest."""
    outputs = OUTPUTS.log_softmax(1) if loss == "NLLLoss" else OUTPUTS
    expected = MULTICLASS[name](CLASSES.numpy(), OUTPUTS.numpy())
    assert measured(name, loss, outputs, CLASSES) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["BCELoss", "BCEWithLogitsLoss"])
@pytest.mark.parametrize("name", BINARY_SCORES)
def test_binary(name: str, loss: str) -> None:
    """A probability of at least 0.5 is the prediction 1."""
    outputs, targets = OUTPUTS[:, :1], BINARY[:, :1]
    expected = BINARY_SCORES[name](targets.numpy(), outputs.numpy())
    sent = outputs.sigmoid() if loss == "BCELoss" else outputs
    assert measured(name, loss, sent, targets) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"])
@pytest.mark.parametrize("name", MULTILABEL)
def test_multilabel(name: str, loss: str) -> None:
    """Each of several outputs is a binary prediction of its own."""
    sent = OUTPUTS.sigmoid() if loss == "BCELoss" else OUTPUTS
    expected = MULTILABEL[name](BINARY.numpy(), OUTPUTS.numpy())
    assert measured(name, loss, sent, BINARY) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss"])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression(name: str, loss: str, columns: int) -> None:
    """Metrics of one or several target columns over batches equal those over all rows."""
    outputs, targets = OUTPUTS[:, :columns], VALUES[:, :columns].contiguous()
    expected = REGRESSION[name](targets.numpy(), outputs.numpy())
    assert measured(name, loss, outputs, targets) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", SURVIVAL)
def test_survival(name: str) -> None:
    """Pairs of rows of different batches are compared too, with equal times and equal outputs."""
    times = torch.randint(1, 20, (50,), generator=torch.Generator().manual_seed(1)).float()
    outputs = ((OUTPUTS[:, :1] - 0.1 * times[:, None]) * 4).round()
    targets = torch.stack([times, BINARY[:, 0]], dim=1)
    expected = SURVIVAL[name](targets.numpy(), outputs.numpy())
    assert measured(name, "CoxPHLoss", outputs, targets) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_training_reports_metrics_of_both_splits(batch_size: int | None) -> None:
    """The history has the training metric and the validation metric of the epoch's parameters."""
    data = samples(lambda y: y.argmax(dim=1))
    section = training(loss="CrossEntropyLoss", metrics=["accuracy"], batch_size=batch_size, epochs=1)
    trainer = engine(section, NET, data)
    before = trainer.components.model(data.x_val) if batch_size is None else None
    history = run(trainer)
    assert history.columns[3:] == ("train_accuracy", "validation_accuracy")
    outputs = trainer.components.model(data.x_val) if before is None else before
    right = (outputs.argmax(dim=1) == data.y_val).float().mean().item()
    assert column(history, "validation_accuracy") == [right]
    (train,) = column(history, "train_accuracy")
    assert round(train * 11, 4) in range(12)


def test_metrics_do_not_change_losses() -> None:
    """The losses of a training are the same with and without metrics."""
    bare = run(engine(training(batch_size=4)))
    measuring = run(engine(training(batch_size=4, metrics=["r2_score", "explained_variance"])))
    assert column(measuring, "train_loss") == column(bare, "train_loss")
    assert column(measuring, "validation_loss") == column(bare, "validation_loss")


def test_a_metric_without_value_is_nan() -> None:
    """R² of a single validation row is NaN and doesn't stop the training."""
    history = run(engine(training(metrics=["r2_score"], epochs=2), data=samples(n_val=1)))
    assert all(map(math.isnan, column(history, "validation_r2_score")))
    assert all(map(math.isfinite, column(history, "train_r2_score")))


@pytest.mark.parametrize("batch_size", [None, 4])
def test_auroc_of_one_class_is_nan(batch_size: int | None) -> None:
    """AUROC of validation rows of one class is NaN, not torchmetrics' 0."""
    data = samples(lambda y: y.argmax(dim=1))
    one = ToyData(data.x_train, data.y_train, data.x_val, torch.ones_like(data.y_val))
    section = training(
        loss="CrossEntropyLoss", metrics=["auroc", "accuracy"], batch_size=batch_size, epochs=2
    )
    history = run(engine(section, NET, one))
    assert all(map(math.isnan, column(history, "validation_auroc")))
    assert all(map(math.isfinite, column(history, "train_auroc") + column(history, "validation_accuracy")))
