"""Validation of settings."""

import pytest
from pydantic import ValidationError

from service.server import RENAMED
from service.settings import Settings


def test_the_heartbeat_interval_is_limited_by_the_lease() -> None:
    """A lease that would expire between two heartbeats is refused."""
    with pytest.raises(ValidationError, match="heartbeat_seconds must be at most a third of lease_seconds"):
        Settings(lease_seconds=2, heartbeat_seconds=1)


def test_a_former_name_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """FITSERVE_SWEEP_SECONDS sets `scan_seconds`; the current name has priority."""
    monkeypatch.setenv("FITSERVE_SWEEP_SECONDS", "3")
    assert Settings().scan_seconds == 3
    monkeypatch.setenv("FITSERVE_SCAN_SECONDS", "2")
    assert Settings().scan_seconds == 2
    assert RENAMED == {"FITSERVE_SWEEP_SECONDS": "FITSERVE_SCAN_SECONDS"}
