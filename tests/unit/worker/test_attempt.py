"""Progress of an attempt at a job."""

from collections.abc import Callable

import pytest

from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.worker.attempt import Attempt
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.toys import VALUES, engine, samples, training


@pytest.fixture
def run(storage: Storage) -> Callable[[int], Attempt]:
    """Make an attempt at a job with the given number of epochs trained before."""

    def make(epochs: int) -> Attempt:
        storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
        job = claimed(storage.claims)
        trained = engine(training(epochs=100))
        trained.advance(epochs)
        return Attempt(job, Claim.of(job), trained, VALUES.prepared(), 0.0, epochs)

    return make


def test_epoch_seconds_are_measured_by_the_attempt(run: Callable[[int], Attempt]) -> None:
    """The seconds per epoch are those of this attempt's epochs, and None before its first epoch has ended."""
    attempt = run(60)
    assert attempt.progress().epoch_seconds is None
    attempt.engine.advance(20)
    before = attempt.training_seconds
    seconds = attempt.progress().epoch_seconds
    assert seconds is not None
    assert before <= 20 * seconds <= attempt.training_seconds


def test_a_monitored_metric_without_a_value_is_logged_once(storage: Storage) -> None:
    """The first epoch without a value of the monitored metric is a warning, the next ones are not."""
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    job, data = claimed(storage.claims), samples(n_val=1)
    spec = training(metrics=["r2_score"], early_stopping={"monitor": "validation_r2_score"})
    trainer = engine(spec, data=data)
    attempt = Attempt(job, Claim.of(job), trainer, data.prepared(), 0.0)
    for _ in range(3):
        chunk = trainer.advance(2)
        assert chunk is not None
        attempt.add_history(chunk)
    (warning,) = attempt.warnings
    assert "`validation_r2_score` is undefined in epoch 1" in warning
    attempt.mark_reported()
    attempt.add_history(chunk)
    assert attempt.warnings == []
