"""Metrics of programs: each equals that of torchmetrics, on trainings of a few epochs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from service.datasets.prepare.encoding import Encoding
from service.training.components import Components
from service.training.concordance import ConcordanceIndex
from service.training.engines.compiled.engine import CompiledEngine, Group, Member
from service.training.engines.compiled.metrics import _PROBABILITIES
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.compiled.ranking_metrics import concordance_index
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from tests.support.toys import VALUES, Layers, ToyData, engine, run, samples, training, with_gaps

EPOCHS = 4


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> ProgramCache:
    """Make a cache of programs, as a worker has one."""
    return ProgramCache()


def net(outputs: int, *more: dict[str, Any]) -> Layers:
    """Make the spec of a network with 3 inputs."""
    hidden: Layers = [{"type": "Linear", "in_features": 3, "out_features": 5}, {"type": "Tanh"}]
    return [*hidden, {"type": "Linear", "in_features": 5, "out_features": outputs}, *more]


@dataclass(frozen=True)
class ClassData(ToyData):
    """Samples of several classes, whose labels are integers in the order of the outputs."""

    labels: tuple[int, ...] = (0, 1, 2)

    def encoding(self) -> Encoding:
        """Return the encoding with the labels."""
        return Encoding(("input",), ((3,),), (), classes=self.labels)


def classes(count: int = 3, rare: bool = False) -> ClassData:
    """Make samples of classes; with `rare`, the last class has no rows."""
    found = samples(lambda y: (y[:, 0] * 7).long() % (count - rare), n_train=23, n_val=9)
    return ClassData(found.x_train, found.y_train, found.x_val, found.y_val, tuple(range(count)))


BINARY = samples(lambda y: (y[:, :1] > 0).float(), n_train=23, n_val=9)
LABELS = samples(lambda y: (y > 0).float(), n_train=23, n_val=9)
FAR = replace(VALUES, y_train=1e4 + VALUES.y_train, y_val=1e4 + VALUES.y_val)

# Metrics with their arguments; each line is trained in one program.
CASES: Mapping[str, tuple[str, Layers, ToyData, list[Any]]] = {
    "binary": (
        "BCEWithLogitsLoss",
        net(1),
        BINARY,
        [
            {"type": "accuracy", "threshold": 0.4},
            "precision",
            "recall",
            {"type": "f1_score", "zero_division": 1.0},
            {"type": "auroc", "max_fpr": 0.5},
        ],
    ),
    "binary, ignored": (
        "BCEWithLogitsLoss",
        net(1),
        BINARY,
        [{"type": "accuracy", "ignore_index": 0}, {"type": "precision", "ignore_index": 0}, "auroc"],
    ),
    "classes": (
        "CrossEntropyLoss",
        net(3),
        classes(),
        ["accuracy", "precision", "recall", "f1_score", "auroc"],
    ),
    "weighted classes": (
        "CrossEntropyLoss",
        net(3),
        classes(),
        [
            {"type": name, "average": "weighted"}
            for name in ("accuracy", "precision", "recall", "f1_score", "auroc")
        ],
    ),
    "a class without rows": (
        "CrossEntropyLoss",
        net(4),
        classes(4, rare=True),
        [
            *("precision", "recall", "auroc"),
            {"type": "f1_score", "average": "macro"},
            {"type": "accuracy", "average": "macro"},
        ],
    ),
    "best of two": (
        "CrossEntropyLoss",
        net(4),
        classes(4, rare=True),
        [
            {"type": "accuracy", "top_k": 2},
            {"type": "precision", "top_k": 2},
            {"type": "recall", "top_k": 3, "average": "macro"},
            {"type": "f1_score", "top_k": 2, "average": "weighted"},
        ],
    ),
    "ignored class": (
        "CrossEntropyLoss",
        net(3),
        classes(),
        [
            {"type": "accuracy", "ignore_index": 1},
            {"type": "f1_score", "ignore_index": 1},
            {"type": "recall", "ignore_index": 2, "top_k": 2},
            {"type": "precision", "ignore_index": 1, "average": "micro"},
        ],
    ),
    "labels": (
        "BCEWithLogitsLoss",
        net(2),
        LABELS,
        ["accuracy", "precision", "recall", "f1_score", "auroc"],
    ),
    "weighted labels": (
        "MultiLabelSoftMarginLoss",
        net(2),
        LABELS,
        [
            {"type": "accuracy", "average": "macro", "threshold": 0.6},
            {"type": "precision", "average": "weighted"},
            {"type": "recall", "average": "micro"},
            {"type": "f1_score", "average": "weighted", "ignore_index": 0},
            {"type": "auroc", "average": "micro"},
        ],
    ),
    "values": (
        "MSELoss",
        net(2),
        VALUES,
        [
            *("mean_absolute_error", "mean_absolute_percentage_error", "r2_score", "explained_variance"),
            {"type": "mean_squared_error", "squared": False},
        ],
    ),
    "values far from 0": (
        "MSELoss",
        net(2),
        FAR,
        [
            {"type": "r2_score", "adjusted": 2, "multioutput": "variance_weighted"},
            {"type": "explained_variance", "multioutput": "variance_weighted"},
        ],
    ),
    "margins": ("MultiMarginLoss", net(3), classes(), ["accuracy", "auroc"]),
}


def make(case: str, batch_size: int | None = None, **section: Any) -> Components:
    """Make the components of a case."""
    loss, layers, data, metrics = CASES[case]
    return components(loss, layers, data, metrics, batch_size, **section)


def components(
    loss: str, layers: Layers, data: ToyData, metrics: list[Any], batch_size: int | None, **section: Any
) -> Components:
    """Make the components of a training."""
    spec = training(loss=loss, metrics=metrics, epochs=EPOCHS, batch_size=batch_size, **section)
    return engine(spec, layers, data).components


def assert_same_values(made: list[Components], programs: ProgramCache) -> None:
    """Assert that the histories of two equal trainings agree in both engines; NaN equals NaN."""
    expected = run(EagerEngine(made[0]))
    found = run(CompiledEngine(made[1], programs))
    for name, mine, theirs in zip(found.columns, found.values, expected.values, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6, err_msg=name)


EXHAUSTIVE = ("binary, ignored", "weighted classes", "values far from 0")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.exhaustive if case in EXHAUSTIVE else ()) for case in CASES],
)
def test_every_metric(case: str, programs: ProgramCache) -> None:
    """Each metric with each of its arguments has the value of torchmetrics, by batches and in validation."""
    assert_same_values([make(case, 5) for _ in range(2)], programs)


def test_metrics_of_whole_batches(programs: ProgramCache) -> None:
    """Where an epoch is one step, and in epochs without the incomplete batch, metrics agree."""
    assert_same_values([make("labels") for _ in range(2)], programs)
    assert_same_values([make("labels", 5, drop_last=True) for _ in range(2)], programs)


def test_survival(programs: ProgramCache) -> None:
    """The loss of a survival analysis and its concordance agree, batch by batch."""
    times = samples(lambda y: torch.stack([y[:, 0].abs().round() + 1, (y[:, 1] > 0).float()], 1), 23, 9)
    made = [components("CoxPHLoss", net(1), times, ["concordance_index"], 5) for _ in range(2)]
    assert_same_values(made, programs)


@pytest.mark.parametrize("outputs", [1, 2])
def test_metrics_of_missing_labels(outputs: int, programs: ProgramCache) -> None:
    """Missing targets of a classification count in no metric."""
    labels = samples(lambda y: (y > 0).float())
    gaps = with_gaps(labels)
    data = replace(gaps, y_train=gaps.y_train[:, :outputs], y_val=gaps.y_val[:, :outputs])
    metrics = ["accuracy", "precision", "recall", "f1_score", "auroc"]
    made = [components("BCEWithLogitsLoss", net(outputs), data, metrics, 4) for _ in range(2)]
    assert_same_values(made, programs)


def test_metrics_of_missing_values(programs: ProgramCache) -> None:
    """Missing targets of a regression count in no metric; R² is that of each output's own rows."""
    metrics = [
        *("r2_score", "explained_variance", "mean_absolute_percentage_error"),
        {"type": "mean_squared_error", "squared": False},
    ]
    made = [components("MSELoss", net(2), with_gaps(), metrics, 4) for _ in range(2)]
    assert_same_values(made, programs)


def test_metrics_of_positions(programs: ProgramCache) -> None:
    """Classes of positions are rows of their own, without those that the loss ignores."""
    found = samples(lambda y: (y > 0).long(), 13, 6)
    ignored = found.y_train.clone()
    ignored[2] = -100
    data = ClassData(found.x_train, ignored, found.x_val, found.y_val, (0, 1))
    layers = net(4, {"type": "Unflatten", "dim": 1, "unflattened_size": [2, 2]})
    metrics = ["accuracy", "f1_score", "auroc"]
    made = [components("CrossEntropyLoss", layers, data, metrics, 5) for _ in range(2)]
    assert_same_values(made, programs)


def test_a_metric_without_a_value(programs: ProgramCache) -> None:
    """AUROC of targets of one class is undefined, and stops no training that monitors it."""
    one = replace(BINARY, y_val=torch.ones_like(BINARY.y_val))
    stopping = {"monitor": "validation_auroc", "patience": 1}
    made = [
        components("BCEWithLogitsLoss", net(1), one, ["auroc", "accuracy"], 5, early_stopping=stopping)
        for _ in range(2)
    ]
    assert_same_values(made, programs)
    assert made[1].monitor is not None
    assert made[1].monitor.best_epoch is None


def test_concordance_index(jax_is_set_up: None) -> None:
    """The index of a survival analysis counts equal outputs half, and knows equal times and censoring."""
    generator = torch.Generator().manual_seed(2)
    hazards = torch.randint(0, 6, (70, 1), generator=generator).float()
    times = torch.randint(1, 12, (70,), generator=generator).float()
    events = torch.randint(0, 2, (70,), generator=generator).float()
    expected = ConcordanceIndex()
    expected.update(hazards, torch.stack([times, events], 1))
    index = concordance_index()
    rows = np.stack([hazards[:, 0], times, events], axis=1)
    assert float(index.value(rows, {})) == pytest.approx(float(expected.compute()), rel=1e-12)
    assert math.isnan(index.value(rows * [1, 1, 0], {}))


def test_numbers_of_metrics_are_inputs(jax_is_set_up: None) -> None:
    """Trainings with other thresholds, ignored labels and ranks share a program, and each uses its own."""
    programs = ProgramCache()
    _, layers, data, _ = CASES["binary"]
    sections = [
        [{"type": "f1_score", "threshold": each, "zero_division": 1}, {"type": "auroc", "max_fpr": each}]
        for each in (0.3, 0.7)
    ]

    def make(metrics: list[Any]) -> Components:
        return components("BCEWithLogitsLoss", layers, data, metrics, 5)

    group = Group([Member(make(each), programs) for each in sections], programs)
    chunks = group.advance(EPOCHS)
    assert programs.compiled == 1
    for chunk, each in zip(chunks, sections, strict=True):
        assert chunk is not None
        np.testing.assert_allclose(chunk.values, run(EagerEngine(make(each))).values, rtol=1e-4)


def test_an_ignored_label_is_the_output_of_its_class(jax_is_set_up: None) -> None:
    """Trainings on other labels share a program, though the same label is another output, or none."""
    programs = ProgramCache()
    data = classes()
    metrics = [{"type": "recall", "ignore_index": 4}]
    for labels in ((2, 3, 4), (3, 4, 5), (6, 7, 8)):
        labelled = replace(data, labels=labels)
        made = [components("CrossEntropyLoss", net(3), labelled, metrics, 5) for _ in range(2)]
        assert_same_values(made, programs)
    assert programs.compiled == 1


def test_all_metrics_are_covered() -> None:
    """The cases have every metric of the catalog, but `concordance_index`, which has a test of its own."""
    found = {
        (each["type"] if isinstance(each, dict) else each)
        for *_, metrics in CASES.values()
        for each in metrics
    }
    assert found == METRICS.keys() - {"concordance_index"}


def test_probabilities_are_those_of_the_losses() -> None:
    """Outputs become probabilities by the functions of the table of losses."""
    assert _PROBABILITIES.keys() == {name for name, loss in LOSSES.items() if loss.probabilities is not None}
    outputs = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    for name, convert in _PROBABILITIES.items():
        expected = LOSSES[name].probabilities
        assert expected is not None
        np.testing.assert_allclose(convert(np.asarray(outputs)), expected(outputs), rtol=1e-6)
