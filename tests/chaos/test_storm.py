"""Short storms on each database; `make chaos` runs long ones."""

from tests.chaos.__main__ import on_postgres, on_sqlite
from tests.chaos.storm import Report


def assert_clean(report: Report) -> None:
    """Assert that a storm killed processes and violated no guarantee."""
    assert report.is_clean, report
    assert report.kills.total() > 0


def test_a_storm_on_sqlite() -> None:
    """Each job ends once and equals its undisturbed twin while workers and the service are killed."""
    assert_clean(on_sqlite(jobs=8, seed=5))


def test_a_storm_on_postgres() -> None:
    """Each job ends once and equals its undisturbed twin while Postgres is killed, too."""
    assert_clean(on_postgres(jobs=8, seed=3))
