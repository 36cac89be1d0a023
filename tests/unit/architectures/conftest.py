"""Set-up of a helper process before its first request."""

import pytest

from service.training.warm_up import warm_up_before_fork


@pytest.fixture(scope="package", autouse=True)
def _meta_device_is_warm() -> None:
    warm_up_before_fork()
