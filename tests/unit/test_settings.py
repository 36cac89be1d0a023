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


def test_settings_are_the_same_in_child_processes() -> None:
    """Settings that are sent to a child process as JSON are equal there."""
    given = {"allowed_origins": "https://a.example, http://[::1]:80", "trusted_proxies": "10.0.0.0/8"}
    for settings in (Settings(), Settings.model_validate(given)):
        sent = settings.model_dump_json()
        assert Settings.model_validate_json(sent).model_dump_json() == sent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "localhost:8000"),
        ("allowed_hosts", "https://localhost"),
        ("allowed_hosts", " , "),
        ("allowed_hosts", "a*.example"),
        ("allowed_origins", "lab.example"),
        ("allowed_origins", "https://lab.example/"),
        ("allowed_origins", "https://*.example"),
        ("trusted_proxies", "proxy"),
        ("root_path", "fit"),
        ("root_path", "/fit/"),
        ("root_path", "//fit"),
        ("root_path", "/.."),
        ("root_path", "/fit/../x"),
        ("root_path", "/./fit"),
        ("root_path", "/a b"),
    ],
)
def test_a_setting_of_addresses_is_checked(name: str, value: str) -> None:
    """Hosts, origins, networks and paths that can't match anything are refused."""
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})
