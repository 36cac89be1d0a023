"""The store of parameter sets, on each database."""

import pytest

from service import errors
from service.storage.claims import Claim, ClaimStore, Ending
from service.storage.database import Database
from service.storage.idempotency import IdempotencyKey
from service.storage.jobs import JobStore
from service.storage.parameter_sets import ParameterSetStore
from service.storage.planned_job import PlannedJob
from service.storage.room import stored_bytes
from tests.support.records import DONE, OWNER, claimed, new_dataset, new_job, new_parameter_set


@pytest.fixture
def parameter_sets(database: Database) -> ParameterSetStore:
    """The store of parameter sets."""
    return ParameterSetStore(database)


def starting_with(parameter_set_id: str) -> PlannedJob:
    """Return a job that starts with a parameter set."""
    job = new_job(request=f'{{"training": {{"initial_parameters": "{parameter_set_id}"}}}}')
    return PlannedJob(job, new_dataset(), parameter_set_id=parameter_set_id)


def test_equal_content_is_added_once(parameter_sets: ParameterSetStore) -> None:
    """Adding equal content again returns the owner's existing parameter set."""
    new = new_parameter_set()
    first, created = parameter_sets.add(OWNER, new)
    assert created
    assert (first.id, first.digest, first.artifact) == (new.id, new.digest, new.artifact)
    assert parameter_sets.add(OWNER, new_parameter_set()) == (first, False)
    assert parameter_sets.add("bob", new_parameter_set())[1]
    assert parameter_sets.get(OWNER, first.id) == parameter_sets.find(OWNER, "d1") == first
    assert parameter_sets.find(OWNER, "d2") is None
    assert parameter_sets.tensors(OWNER, first.id) == new.tensors


def test_another_owners_parameter_set_is_not_found(parameter_sets: ParameterSetStore, jobs: JobStore) -> None:
    """A parameter set does not exist for another owner."""
    stored, _ = parameter_sets.add(OWNER, new_parameter_set())
    for act in (parameter_sets.get, parameter_sets.tensors, parameter_sets.delete):
        with pytest.raises(errors.ParameterSetNotFound):
            act("bob", stored.id)
    assert parameter_sets.list("bob", limit=10) == []
    with pytest.raises(errors.ParameterSetNotFound):
        jobs.submit("bob", starting_with(stored.id))
    assert jobs.list("bob") == []


def test_a_list_pages_through_all_parameter_sets_once(parameter_sets: ParameterSetStore) -> None:
    """Pages contain each parameter set once, newest first; a digest selects one."""
    added = [parameter_sets.add(OWNER, new_parameter_set(f"d{n}"))[0] for n in range(5)]
    first = parameter_sets.list(OWNER, limit=3)
    rest = parameter_sets.list(OWNER, limit=3, before=first[-1].cursor)
    assert [*first, *rest] == sorted(added, key=lambda each: each.cursor, reverse=True)
    assert parameter_sets.list(OWNER, limit=3, upload_digest="d2") == [added[2]]


def test_a_parameter_set_in_use_is_not_deleted(
    parameter_sets: ParameterSetStore, jobs: JobStore, claims: ClaimStore
) -> None:
    """A parameter set can be deleted once no queued, paused or running job starts with it."""
    stored, _ = parameter_sets.add(OWNER, new_parameter_set())
    job, _ = jobs.submit(OWNER, starting_with(stored.id))
    for change in (jobs.pause, jobs.resume):
        change(OWNER, job.id)
        with pytest.raises(errors.ParameterSetInUse):
            parameter_sets.delete(OWNER, stored.id)
    claim = Claim.of(claimed(claims))
    with pytest.raises(errors.ParameterSetInUse):
        parameter_sets.delete(OWNER, stored.id)
    claims.finish(Ending(claim, DONE))
    assert parameter_sets.delete(OWNER, stored.id) == "parameters/d1"
    with pytest.raises(errors.ParameterSetNotFound):
        parameter_sets.delete(OWNER, stored.id)
    with pytest.raises(errors.ParameterSetNotFound):
        jobs.submit(OWNER, starting_with(stored.id))


def test_parameter_sets_count_for_the_quota(database: Database) -> None:
    """A parameter set without room in the quota is refused, and not stored."""
    parameter_sets = ParameterSetStore(database, max_stored_bytes=250)
    for digest in ("d1", "d2", "d1"):
        parameter_sets.add(OWNER, new_parameter_set(digest))
    with pytest.raises(errors.StorageFull):
        parameter_sets.add(OWNER, new_parameter_set("d3"))
    assert len(parameter_sets.list(OWNER, limit=10)) == 2
    with database.read() as connection:
        assert stored_bytes(connection) == 200


def test_a_key_belongs_to_one_upload(parameter_sets: ParameterSetStore) -> None:
    """A repeated upload with a key finds its parameter set; another upload with it adds nothing."""
    key, other = IdempotencyKey("k", "f1"), IdempotencyKey("k", "f2")
    first, _ = parameter_sets.add(OWNER, new_parameter_set(), None, key)
    assert parameter_sets.add(OWNER, new_parameter_set(), None, key) == (first, False)
    assert parameter_sets.keep(OWNER, first.id, None, key) == first
    with pytest.raises(errors.IdempotencyKeyReused):
        parameter_sets.add(OWNER, new_parameter_set("d2"), None, other)
    with pytest.raises(errors.IdempotencyKeyReused):
        parameter_sets.keep(OWNER, first.id, None, other)
    assert parameter_sets.find(OWNER, "d2") is None
    parameter_sets.delete(OWNER, first.id)
    assert parameter_sets.add(OWNER, new_parameter_set("d2"), None, other)[1]
