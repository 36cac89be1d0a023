"""What is to be written of an attempt at a job."""

from collections.abc import Callable

import pytest

from service.storage.claims import Claim
from service.storage.storage import Storage
from service.worker.attempt import Run
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.toys import VALUES, engine, training


@pytest.fixture
def run(storage: Storage) -> Callable[[int], Run]:
    """Makes an attempt at a job of which so many epochs were trained before."""

    def make(epochs: int) -> Run:
        storage.jobs.submit(OWNER, new_job(), new_dataset())
        job = claimed(storage.claims)
        trained = engine(training(epochs=100))
        trained.advance(epochs)
        return Run(job, Claim.of(job), trained, VALUES.prepared(), 0.0, epochs)

    return make


def test_an_epoch_takes_what_those_of_this_attempt_took(run: Callable[[int], Run]) -> None:
    """Epochs of before don't count: nothing is known of an epoch until one has ended."""
    attempt = run(60)
    assert attempt.progress().epoch_seconds is None
    attempt.engine.advance(20)
    before = attempt.training_seconds
    seconds = attempt.progress().epoch_seconds
    assert seconds is not None
    assert before <= 20 * seconds <= attempt.training_seconds
