"""Datasets, on each database."""

from collections.abc import Callable

import pytest

from service import errors
from service.storage.claims import Claim, ClaimStore, Ending
from service.storage.datasets import DatasetStore
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from tests.contracts.test_claim_store import DONE
from tests.support.records import OWNER, new_dataset, new_job


def test_equal_content_is_added_once(datasets: DatasetStore) -> None:
    """An owner's second dataset of equal content is the first."""
    new = new_dataset()
    first, created = datasets.add(OWNER, new)
    assert created
    assert (first.id, first.digest, first.artifact) == (new.id, new.digest, new.artifact)
    assert datasets.add(OWNER, new_dataset()) == (first, False)
    assert datasets.add("bob", new_dataset())[1]
    assert datasets.get(OWNER, first.id) == datasets.find(OWNER, "d1") == first
    assert datasets.find(OWNER, "d2") is None


def test_another_owners_dataset_is_not_found(datasets: DatasetStore) -> None:
    """Nothing of a dataset shows to another owner."""
    dataset, _ = datasets.add(OWNER, new_dataset())
    for act in (datasets.get, datasets.delete):
        with pytest.raises(errors.DatasetNotFound):
            act("bob", dataset.id)
    assert datasets.list("bob", limit=10) == []


def test_a_list_pages_through_all_datasets_once(datasets: DatasetStore) -> None:
    """Pages give every dataset once, newest first."""
    added = [datasets.add(OWNER, new_dataset(f"d{n}"))[0] for n in range(5)]
    first = datasets.list(OWNER, limit=3)
    rest = datasets.list(OWNER, limit=3, before=first[-1].cursor)
    assert [*first, *rest] == sorted(added, key=lambda dataset: dataset.cursor, reverse=True)


def test_a_dataset_in_use_stays(
    datasets: DatasetStore, jobs: JobStore, claims: ClaimStore, submit: Callable[..., Job]
) -> None:
    """A dataset is deleted once no queued or running job needs it; ended jobs keep its id."""
    job = submit()
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, job.dataset_id)
    running = claims.claim("w", ["cpu"], 30)
    assert running is not None
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, job.dataset_id)
    claims.finish(Ending(Claim.of(running), DONE))
    assert datasets.delete(OWNER, job.dataset_id) == "datasets/d1"
    assert jobs.get(OWNER, job.id).dataset_id == job.dataset_id
    with pytest.raises(errors.DatasetNotFound):
        datasets.delete(OWNER, job.dataset_id)


def test_a_dataset_that_is_a_side_of_a_split_stays(
    datasets: DatasetStore, jobs: JobStore, submit: Callable[..., Job]
) -> None:
    """Further datasets that a request names are there when it is accepted, and stay until the job's end."""
    other, _ = datasets.add(OWNER, new_dataset("d2"))
    request = f'{{"data": {{"split": {{"validation_dataset_id": "{other.id}"}}}}}}'
    job, _ = jobs.submit(OWNER, new_job(request=request), new_dataset(), other_dataset_ids=[other.id])
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, other.id)
    jobs.cancel(OWNER, job.id)
    assert datasets.delete(OWNER, other.id) == "datasets/d2"
    with pytest.raises(errors.DatasetNotFound):
        jobs.submit(OWNER, new_job(request=request), new_dataset(), other_dataset_ids=[other.id])
