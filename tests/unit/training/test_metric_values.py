"""Metrics that have no value on the rows of a split."""

import math
from typing import Any

import pytest
import torch

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.specs.component import MetricSpec
from service.training.findings import Findings
from service.training.losses import LOSSES
from service.training.metric_values import check_metric_values
from service.training.metrics import METRICS, build_metric, compute_and_reset, metric_inputs, task_of
from tests.support.outputs import roles_of
from tests.support.toys import training

GOOD = {
    "MSELoss": [[1.0], [2.0], [4.0]],
    "BCEWithLogitsLoss": [[0.0], [1.0], [1.0]],
    "CrossEntropyLoss": [0, 1, 2, 1],
}


def found(targets: Any, monitor: str | None = None, loss: str = "MSELoss", **section: Any) -> Findings:
    """Check metrics with good training rows and validation rows of these targets."""
    classes = ("a", "b", "c") if loss == "CrossEntropyLoss" else None
    train, validation = torch.tensor(GOOD[loss]), torch.tensor(targets)
    inputs = (torch.zeros(1, 1),)
    encoding = Encoding(("input",), ((1,),), tuple(train.shape[1:]), classes=classes)
    data = Prepared(Samples(inputs, train), Samples(inputs, validation), None, encoding)
    stopping = None if monitor is None else {"monitor": monitor}
    findings = Findings()
    width = 3 if classes else train.shape[1]
    spec = training(loss=loss, early_stopping=stopping, **section)
    check_metric_values(spec, roles_of(spec, width), data, findings)
    return findings


@pytest.mark.parametrize(
    ("metric", "loss", "targets", "words"),
    [
        ("r2_score", "MSELoss", [[4.5]], "it needs at least 2 rows, and there is only 1"),
        ({"type": "r2_score", "adjusted": 1}, "MSELoss", [[1.0], [2.0]], "3 rows, and there are only 2"),
        ("r2_score", "MSELoss", [[2.0], [2.0]], "all targets are equal"),
        ("explained_variance", "MSELoss", [[4.5]], "at least 2 rows"),
        ("auroc", "BCEWithLogitsLoss", [[1.0], [1.0]], "rows of both classes, and every target is 1"),
        ("auroc", "CrossEntropyLoss", [0, 1, 1], 'rows of every class, and "c" has none'),
    ],
)
def test_a_monitored_metric_without_a_value_is_an_error(
    metric: Any, loss: str, targets: Any, words: str
) -> None:
    """The error names the reason and a remedy; a metric that is not monitored is a warning."""
    name = metric if isinstance(metric, str) else metric["type"]
    monitored = found(targets, f"validation_{name}", loss, metrics=[metric])
    (error,) = monitored.errors
    assert error.pointer == "#/training/early_stopping"
    assert words in error.detail
    assert "among the validation rows. Change the rows with `data.split`, or monitor" in error.detail
    other = found(targets, None, loss, metrics=[metric])
    assert not other.errors
    (warning,) = other.warnings
    assert warning.pointer == "#/training/metrics/0"
    assert words in warning.detail


@pytest.mark.parametrize("loss", GOOD)
def test_metrics_with_values_are_not_reported(loss: str) -> None:
    """All metrics of a task have values on rows of different targets."""
    task = task_of(LOSSES[loss], 3 if loss == "CrossEntropyLoss" else 1)
    names = [name for name, family in METRICS.items() if task in family.classes]
    findings = found(GOOD[loss], f"validation_{names[-1]}", loss, metrics=names)
    assert (findings.errors, findings.warnings) == ([], [])


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("BCEWithLogitsLoss", [[0.0]]),
        ("BCEWithLogitsLoss", [[0.0], [0.0], [1.0]]),
        ("CrossEntropyLoss", [0]),
        ("CrossEntropyLoss", [2, 0, 1]),
        ("CrossEntropyLoss", [2, 2, 1]),
        ("MSELoss", [[3.0]]),
        ("MSELoss", [[3.0], [5.0]]),
    ],
)
def test_metrics_are_undefined_as_in_torchmetrics(loss: str, targets: Any) -> None:
    """A metric is reported exactly if torchmetrics computes no value of it."""
    width = 3 if loss == "CrossEntropyLoss" else 1
    task = task_of(LOSSES[loss], width)
    for name in [name for name, family in METRICS.items() if task in family.classes]:
        if name == "explained_variance":  # torchmetrics returns 0 of a single row
            continue
        metric = build_metric(MetricSpec(type=name), task, width)
        outputs = torch.randn(len(targets), width)
        metric.update(*metric_inputs(LOSSES[loss], task, outputs, torch.tensor(targets)))
        reported = found(targets, None, loss, metrics=[name]).warnings
        assert math.isnan(compute_and_reset(metric)) == bool(reported), name


def test_fractions_in_any_split_are_an_error() -> None:
    """Classification metrics need targets of 0 and 1, in validation rows too."""
    findings = found([[0.0], [0.5]], None, "BCEWithLogitsLoss", metrics=["accuracy"])
    assert "needs targets that are 0 or 1" in findings.errors[0].detail


NAN = math.nan


@pytest.mark.parametrize(
    ("loss", "targets", "metric", "words"),
    [
        (
            "MSELoss",
            [[3.0], [NAN], [NAN]],
            "r2_score",
            "at least 2 rows with each target, and there is only 1",
        ),
        ("MSELoss", [[3.0], [NAN], [3.0]], "r2_score", "all targets are equal"),
        ("MSELoss", [[3.0], [NAN], [5.0]], "r2_score", None),
        ("BCEWithLogitsLoss", [[1.0], [NAN], [1.0]], "auroc", "every target is 1"),
        ("BCEWithLogitsLoss", [[1.0], [NAN], [0.0]], "auroc", None),
        ("BCEWithLogitsLoss", [[1.0], [NAN], [0.0]], "accuracy", None),
    ],
)
def test_masked_targets_do_not_count(loss: str, targets: Any, metric: str, words: str | None) -> None:
    """Only present targets decide whether a metric has a value."""
    findings = found(targets, None, loss, metrics=[metric])
    assert not findings.errors
    assert [words in each.detail for each in findings.warnings if words] == ([True] if words else [])
    assert bool(findings.warnings) == (words is not None)
