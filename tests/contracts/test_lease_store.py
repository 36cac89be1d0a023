"""The store of leases, on each database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.storage.database import Database
from service.storage.leases import Lease, LeaseStore
from tests.support.server import until

NAME = "scaler"


@pytest.fixture
def leases(database: Database) -> LeaseStore:
    """The store of leases."""
    return LeaseStore(database)


def held(leases: LeaseStore, holder: str = "a", seconds: float = 60) -> Lease:
    """Acquire the lease."""
    lease = leases.acquire(NAME, holder, seconds)
    assert lease is not None
    return lease


def test_a_held_lease_is_refused_to_others(leases: LeaseStore) -> None:
    """A held lease is given to nobody, not even its holder; another name is another lease."""
    lease = held(leases)
    assert leases.acquire(NAME, "b", 60) is None
    assert leases.acquire(NAME, "a", 60) is None
    assert leases.acquire("other", "b", 60) == Lease("other", "b", 1)
    assert leases.renew(lease, 60)


def test_one_of_many_acquires_a_lease(leases: LeaseStore) -> None:
    """Of eight threads that acquire a lease at once, one gets it."""
    barrier = threading.Barrier(8)

    def acquire(number: int) -> Lease | None:
        barrier.wait()
        return leases.acquire(NAME, str(number), 60)

    with ThreadPoolExecutor(8) as pool:
        acquired = [lease for lease in pool.map(acquire, range(8)) if lease is not None]
    assert len(acquired) == 1


def test_an_expired_lease_is_fenced_off(leases: LeaseStore) -> None:
    """A lease that has expired cannot be renewed or released; the next one has a higher token."""
    former = held(leases, seconds=0)
    assert not leases.renew(former, 60)
    lease = held(leases, "b")
    assert lease.token > former.token
    assert not leases.renew(former, 60, '"former"')
    leases.release(former)
    record = leases.read(NAME)
    assert record is not None
    assert (record.lease, record.is_held, record.report) == (lease, True, None)


def test_a_released_lease_can_be_acquired_at_once(leases: LeaseStore) -> None:
    """A lease that was released is not held, and is given to the next process; its report stays."""
    lease = held(leases)
    assert leases.renew(lease, 60, '"report"')
    leases.release(lease)
    record = leases.read(NAME)
    assert record is not None
    assert (record.is_held, record.report) == (False, '"report"')
    assert until(lambda: leases.acquire(NAME, "b", 60)) is not None


def test_a_lease_that_nobody_had_has_no_record(leases: LeaseStore) -> None:
    """A lease that was never acquired has no record."""
    assert leases.read(NAME) is None
