"""The store of datasets, on each database."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import errors
from service.storage.claims import Claim, ClaimStore, Ending
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.idempotency import IdempotencyKey
from service.storage.jobs import JobStore
from service.storage.planned_job import PlannedJob
from tests.support.records import DONE, OWNER, Submit, claimed, new_dataset, new_job


def test_equal_content_is_added_once(datasets: DatasetStore) -> None:
    """Adding equal content again returns the owner's existing dataset."""
    new = new_dataset()
    first, created = datasets.add(OWNER, new)
    assert created
    assert (first.id, first.digest, first.artifact) == (new.id, new.digest, new.artifact)
    assert datasets.add(OWNER, new_dataset()) == (first, False)
    assert datasets.add("bob", new_dataset())[1]
    assert datasets.get(OWNER, first.id) == datasets.find(OWNER, "d1") == first
    assert datasets.find(OWNER, "d2") is None


def test_an_upload_is_found_by_its_digest(datasets: DatasetStore) -> None:
    """Every upload finds the dataset that it became, also of equal content, until that is deleted."""
    dataset, _ = datasets.add(OWNER, new_dataset(), "u1")
    assert datasets.add(OWNER, new_dataset(), "u2") == (dataset, False)
    assert datasets.keep(OWNER, dataset.id, "u3") == datasets.keep(OWNER, dataset.id, "u3") == dataset
    for digest in ("u1", "u2", "u3"):
        assert datasets.list(OWNER, limit=10, upload_digest=digest) == [dataset]
        assert datasets.list("bob", limit=10, upload_digest=digest) == []
    assert datasets.list(OWNER, limit=10, upload_digest="u4") == []
    other, _ = datasets.add(OWNER, new_dataset("d2"), "u1")
    assert datasets.list(OWNER, limit=10, upload_digest="u1") == [other]
    datasets.delete(OWNER, other.id)
    assert datasets.list(OWNER, limit=10, upload_digest="u1") == []


def test_another_owners_dataset_is_not_found(datasets: DatasetStore) -> None:
    """A dataset does not exist for another owner."""
    dataset, _ = datasets.add(OWNER, new_dataset())
    for act in (datasets.get, datasets.delete):
        with pytest.raises(errors.DatasetNotFound):
            act("bob", dataset.id)
    assert datasets.list("bob", limit=10) == []


def test_a_list_pages_through_all_datasets_once(datasets: DatasetStore) -> None:
    """Pages contain each dataset once, newest first."""
    added = [datasets.add(OWNER, new_dataset(f"d{n}"))[0] for n in range(5)]
    first = datasets.list(OWNER, limit=3)
    rest = datasets.list(OWNER, limit=3, before=first[-1].cursor)
    assert [*first, *rest] == sorted(added, key=lambda dataset: dataset.cursor, reverse=True)


def test_a_dataset_in_use_is_not_deleted(
    datasets: DatasetStore, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A dataset can be deleted once no queued or running job uses it; ended jobs keep its id."""
    job = submit()
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, job.dataset_id)
    claim = Claim.of(claimed(claims))
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, job.dataset_id)
    claims.finish(Ending(claim, DONE))
    assert datasets.delete(OWNER, job.dataset_id) == "datasets/d1"
    assert jobs.get(OWNER, job.id).dataset_id == job.dataset_id
    with pytest.raises(errors.DatasetNotFound):
        datasets.delete(OWNER, job.dataset_id)


def test_a_dataset_of_a_split_is_not_deleted(datasets: DatasetStore, jobs: JobStore) -> None:
    """A validation or test dataset must exist when the job is accepted, and is kept until the job ends."""
    other, _ = datasets.add(OWNER, new_dataset("d2"))
    request = f'{{"data": {{"split": {{"validation_dataset_id": "{other.id}"}}}}}}'
    job, _ = jobs.submit(
        OWNER, PlannedJob(new_job(request=request), new_dataset(), other_dataset_ids=[other.id])
    )
    with pytest.raises(errors.DatasetInUse):
        datasets.delete(OWNER, other.id)
    jobs.cancel(OWNER, job.id)
    assert datasets.delete(OWNER, other.id) == "datasets/d2"
    with pytest.raises(errors.DatasetNotFound):
        jobs.submit(OWNER, PlannedJob(new_job(request=request), new_dataset(), other_dataset_ids=[other.id]))


def test_a_key_belongs_to_one_upload(datasets: DatasetStore) -> None:
    """A repeated upload with a key finds its dataset; another upload with it is refused, and adds nothing."""
    key, other = IdempotencyKey("k", "f1"), IdempotencyKey("k", "f2")
    first, created = datasets.add(OWNER, new_dataset(), None, key)
    assert created
    assert datasets.add(OWNER, new_dataset(), None, key) == (first, False)
    assert datasets.keep(OWNER, first.id, None, key) == first
    with pytest.raises(errors.IdempotencyKeyReused):
        datasets.add(OWNER, new_dataset("d2"), "u2", other)
    with pytest.raises(errors.IdempotencyKeyReused):
        datasets.keep(OWNER, first.id, "u2", other)
    assert datasets.find(OWNER, "d2") is None
    assert datasets.list(OWNER, limit=10, upload_digest="u2") == []
    assert datasets.add("bob", new_dataset("d2"), None, other)[1]


def test_the_key_of_a_deleted_dataset_is_free(datasets: DatasetStore) -> None:
    """A key is forgotten with its dataset, or after `idempotency_hours`."""
    key, other = IdempotencyKey("k", "f1"), IdempotencyKey("k", "f2")
    first, _ = datasets.add(OWNER, new_dataset(), None, key)
    datasets.delete(OWNER, first.id)
    second, created = datasets.add(OWNER, new_dataset("d2"), None, other)
    assert created
    with pytest.raises(errors.IdempotencyKeyReused):
        datasets.add(OWNER, new_dataset(), None, key)
    datasets.delete(OWNER, second.id)
    assert datasets.add(OWNER, new_dataset(), None, key)[1]


def test_keys_of_uploads_expire(database: Database) -> None:
    """A key can be used for another upload after `idempotency_hours`."""
    datasets = DatasetStore(database, idempotency_hours=-1e-3)
    assert datasets.add(OWNER, new_dataset(), None, IdempotencyKey("k", "f1"))[1]
    assert datasets.add(OWNER, new_dataset("d2"), None, IdempotencyKey("k", "f2"))[1]


def test_of_concurrent_uploads_with_one_key_one_is_kept(datasets: DatasetStore) -> None:
    """The others wait for the first: those of equal content find its dataset, and the rest are refused."""

    def add(number: int) -> str:
        digest = f"d{number % 2}"
        try:
            return datasets.add(OWNER, new_dataset(digest), None, IdempotencyKey("raced", digest))[0].id
        except errors.IdempotencyKeyReused:
            return "refused"

    with ThreadPoolExecutor(6) as threads:
        outcomes = Counter(threads.map(add, range(6)))
    assert sorted(outcomes.values()) == [3, 3]
    assert outcomes["refused"] == 3
    assert len(datasets.list(OWNER, limit=10)) == 1
