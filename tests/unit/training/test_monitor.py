"""Best epoch and early stopping."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.specs.training import EarlyStopping
from service.training.monitor import Monitor
from tests.support.toys import engine, run, training


def follow(monitor: Monitor, values: list[float]) -> list[bool]:
    """Return whether each epoch is an improvement, until the monitor stops."""
    improved = []
    for epoch, value in enumerate(values, start=1):
        improved.append(monitor.update(epoch, {monitor.value: value}))
        if monitor.should_stop:
            break
    return improved


def test_equal_is_no_improvement() -> None:
    """An epoch is an improvement if its value is less than the best so far; the first one always is."""
    monitor = Monitor("validation_loss")
    assert follow(monitor, [3.0, 3.0, 2.0, 2.5, 1.0]) == [True, False, True, False, True]
    assert monitor.best_epoch == 5
    assert monitor.best == {"validation_loss": 1.0}


def test_min_delta_is_measured_from_the_best() -> None:
    """A value must be less than best − min_delta; smaller improvements don't change the best value."""
    monitor = Monitor("validation_loss", stopping=EarlyStopping(min_delta=0.5))
    assert follow(monitor, [3.0, 2.75, 2.5, 2.25]) == [True, False, False, True]


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience_counts_epochs_without_improvement(patience: int) -> None:
    """The training stops after exactly `patience` consecutive epochs without improvement."""
    monitor = Monitor("validation_loss", stopping=EarlyStopping(patience=patience))
    improved = follow(monitor, [3.0, 2.0, *[2.0] * 10])
    assert len(improved) == 2 + patience
    assert monitor.best_epoch == 2


def test_an_improvement_resets_the_count() -> None:
    """Only consecutive epochs without improvement count."""
    monitor = Monitor("validation_loss", stopping=EarlyStopping(patience=2))
    assert len(follow(monitor, [3.0, 4.0, 2.0, 4.0, 1.0, 4.0, 4.0, 0.0])) == 7


def test_higher_is_better_for_a_score() -> None:
    """For a score, an epoch is an improvement if its value is greater than best + min_delta."""
    stopping = EarlyStopping(monitor="validation_accuracy", min_delta=0.1, patience=3)
    monitor = Monitor("validation_accuracy", higher_is_better=True, stopping=stopping)
    assert follow(monitor, [-0.5, 0.5, 0.55, 0.7]) == [True, True, False, True]
    assert monitor.best_epoch == 4


def test_without_early_stopping_it_never_stops() -> None:
    """A monitor without early stopping never stops."""
    monitor = Monitor("validation_loss")
    assert len(follow(monitor, [1.0] * 1000)) == 1000


def test_nan_never_improves() -> None:
    """A metric without a value is never an improvement."""
    monitor = Monitor("validation_auroc", higher_is_better=True)
    assert follow(monitor, [math.nan, 0.5, math.nan, 0.6]) == [False, True, False, True]


def test_an_epoch_without_a_value_does_not_count() -> None:
    """Epochs without a value neither stop the training nor reset its patience."""
    monitor = Monitor("validation_r2_score", True, EarlyStopping(patience=2))
    assert follow(monitor, [math.nan] * 9) == [False] * 9
    assert (monitor.best_epoch, monitor.should_stop) == (None, False)
    assert follow(monitor, [0.5, math.nan, 0.4, math.inf, -math.inf, math.nan, 0.3, 0.9]) == [True] + 6 * [
        False
    ]


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    higher=st.booleans(),
    patience=st.integers(1, 5),
    min_delta=st.floats(0, 10),
)
def test_restored_state(values: list[float], cut: int, higher: bool, patience: int, min_delta: float) -> None:
    """A monitor restored from its state, stored as JSON, decides like an uninterrupted one."""
    stopping = EarlyStopping(patience=patience, min_delta=min_delta)
    whole, first, second = (Monitor("validation_loss", higher, stopping) for _ in range(3))
    decisions = []
    current = first
    for epoch, value in enumerate(values, start=1):
        if epoch == cut:
            second.restore(json.loads(json.dumps(first.state())))
            current = second
        expected = (whole.update(epoch, {"validation_loss": value}), whole.should_stop)
        decisions.append((current.update(epoch, {"validation_loss": value}), current.should_stop) == expected)
    assert all(decisions)
    assert current.state() == whole.state()


@pytest.mark.parametrize(
    ("section", "value", "higher"),
    [
        ({}, "validation_loss", False),
        ({"early_stopping": {}}, "validation_loss", False),
        ({"early_stopping": {"monitor": "train_loss"}}, "train_loss", False),
        ({"early_stopping": {"monitor": "validation_r2_score"}}, "validation_r2_score", True),
        ({"early_stopping": {"monitor": "train_r2_score"}}, "train_r2_score", True),
        ({"early_stopping": {"monitor": "train_mean_squared_error"}}, "train_mean_squared_error", False),
    ],
)
def test_the_monitored_value_of_a_training(section: dict[str, object], value: str, higher: bool) -> None:
    """The value that early stopping monitors determines the best epoch, in the metric's direction."""
    trainer = engine(training(metrics=["r2_score", "mean_squared_error"], **section))
    monitor = trainer.components.monitor
    assert monitor is not None
    assert (monitor.value, monitor.higher_is_better) == (value, higher)
    history = run(trainer)
    followed = history.values[history.columns.index(value)].tolist()
    best = followed.index(max(followed) if higher else min(followed))
    assert monitor.best_epoch == best + 1
    assert monitor.best == dict(zip(history.columns, history.values[:, best].tolist(), strict=True))


def test_no_monitor_without_validation() -> None:
    """A training without validation rows and early stopping has no monitor."""
    assert engine(training(), validates=False).components.monitor is None
