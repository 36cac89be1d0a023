"""A short storm on each database; `make chaos` has a long one."""

from tests.chaos.__main__ import on_postgres, on_sqlite
from tests.chaos.storm import Report


def assert_clean(report: Report) -> None:
    """Nothing was lost, ended twice, has a gap or differs from its twin; and there was a storm."""
    assert report.is_clean, report
    assert report.kills.total() > 0


def test_a_storm_on_sqlite() -> None:
    """Workers and the service are killed while a few jobs run: each ends once, as its undisturbed twin."""
    assert_clean(on_sqlite(jobs=16, seed=5))


def test_a_storm_on_postgres() -> None:
    """The same, with a Postgres that is killed too."""
    assert_clean(on_postgres(jobs=16, seed=3))
