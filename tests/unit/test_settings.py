"""Validation of settings."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_the_heartbeat_interval_is_limited_by_the_lease() -> None:
    """A lease that would expire between two heartbeats is refused."""
    with pytest.raises(ValidationError, match=r"at most 0\.666667, a third of FITSERVE_LEASE_SECONDS"):
        Settings(lease_seconds=2, heartbeat_seconds=1)


def test_the_heartbeat_interval_follows_a_short_lease() -> None:
    """A short lease alone is valid: the heartbeat is more frequent by default."""
    assert Settings(lease_seconds=3).heartbeat_seconds == 0.5


@pytest.mark.parametrize("name", Settings.model_fields)
def test_numbers_are_finite_and_bounded(name: str) -> None:
    """No number may be infinite, NaN, or so large that a wait or a resource limit would overflow."""
    schema = Settings.model_json_schema()["properties"][name]
    kinds = {each.get("type") for each in [schema, *schema.get("anyOf", [])]}
    if kinds & {"integer", "number"}:
        for value in ("inf", "-inf", "nan", "1e400", "9" * 400, "-1"):
            with pytest.raises(ValidationError):
                Settings.model_validate({name: value})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_schemes_of_postgres_are_equivalent(scheme: str) -> None:
    """The schemes that providers give out are read as the driver that is installed."""
    url = Settings(database_url=f"{scheme}://u:p@h/d").database()
    assert url == "postgresql+psycopg://u:p@h/d"
