"""Short storms on each database; `make chaos` runs long ones."""

import pytest

from tests.chaos.__main__ import on_postgres, on_sqlite
from tests.chaos.storm import Report

LONG = pytest.param(16, marks=pytest.mark.exhaustive)


def assert_clean(report: Report) -> None:
    """Assert that a storm killed processes and violated no guarantee."""
    assert report.is_clean, report
    assert report.kills.total() > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("jobs", [4, 16])
def test_a_storm_on_sqlite(jobs: int) -> None:
    """Each job ends once and equals its undisturbed twin while workers and the service are killed."""
    assert_clean(on_sqlite(jobs=jobs, seed=5))


@pytest.mark.parametrize("jobs", [4, LONG])
def test_a_storm_on_postgres(jobs: int) -> None:
    """Each job ends once and equals its undisturbed twin while Postgres is killed, too."""
    assert_clean(on_postgres(jobs=jobs, seed=3))
