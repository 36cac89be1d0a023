"""Settings that would break a promise are refused when the service starts."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_a_heartbeat_comes_within_the_lease() -> None:
    """A lease that runs out between two heartbeats would lose every job: it is refused."""
    with pytest.raises(ValidationError, match="heartbeat_seconds must be a third of lease_seconds at most"):
        Settings(lease_seconds=2, heartbeat_seconds=1)
