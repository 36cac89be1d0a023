from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.preflight.result import PreflightResult
from service.settings import Settings
from service.storage.storage import Storage
from tests.support.records import OWNER
from tests.support.storage import open_storage


@pytest.fixture(scope="module")
def fitserve(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a folder of their own."""
    return Settings(data_dir=tmp_path_factory.mktemp("preflight"))


@pytest.fixture(scope="module")
def storage(fitserve: Settings) -> Iterator[Storage]:
    """An empty database and folder."""
    with open_storage(fitserve) as storage:
        yield storage


@pytest.fixture(scope="module")
def plan(storage: Storage, fitserve: Settings) -> Callable[[Any], PreflightResult]:
    """Runs the preflight of a document."""
    cache = PreflightCache(fitserve)
    return lambda document: Preflight(document, OWNER, storage, fitserve, cache).run()
