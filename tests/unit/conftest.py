"""Fixtures of the unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A migrated database and a folder of artifacts."""
    with Storage.open(Settings(data_dir=tmp_path)) as storage:
        migrate(storage.database)
        yield storage
