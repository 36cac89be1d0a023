"""A storage for tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings
from service.storage.prepare import prepare
from service.storage.storage import Storage


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """Open the storage of the data folder with a migrated database and a folder of artifacts."""
    with Storage.open(settings) as storage:
        prepare(storage)
        yield storage
