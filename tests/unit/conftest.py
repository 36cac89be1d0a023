"""Fixtures of the unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.storage.storage import Storage
from tests.support.storage import open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A migrated database and a folder of artifacts."""
    with open_storage(Settings(data_dir=tmp_path)) as storage:
        yield storage
