"""A short soak; `make soak` runs a long one."""

from collections.abc import Callable

import pytest

from tests.soak.run import soak
from tests.support.server import Service

SECONDS = 120.0


@pytest.mark.exhaustive
def test_a_service_stays_as_large_as_it_is(start_service: Callable[..., Service]) -> None:
    """Memory, open files and disk are level after a minute of mixed load, and no request is a 5xx."""
    service = start_service(workers=1)
    trends, load = soak(service, SECONDS)
    assert [each for each in trends if not each.is_level] == []
    assert [name for name in load.answers if name.startswith("5")] == []
    assert "Traceback" not in service.log.read_text()
