"""A storage for tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.storage import Storage


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """Open the storage of the data folder with a migrated database."""
    with Storage.open(settings) as storage:
        migrate(storage.database)
        yield storage
