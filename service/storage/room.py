"""How much more data may be stored: a quota over all records, and a floor of free disk space.

Both refuse new requests. Accepted jobs may write checkpoints beyond them, for which the floor is kept.
"""

import os
from pathlib import Path

from sqlalchemy import Connection, func, literal, select

from service import retry_after
from service.configuration import variable
from service.errors import StorageFull
from service.settings import GIB, MAX_BYTES
from service.storage.database import Database
from service.storage.tables import checkpoints, datasets, parameter_sets

# Share of a disk that is kept free by default, and the most that is.
FREE_SHARE = 0.05
MOST_FREE_BYTES = GIB
_STORED_BYTES = select(
    sum(
        (
            select(func.coalesce(func.sum(table.c.bytes), 0)).scalar_subquery()
            for table in (datasets, parameter_sets, checkpoints)
        ),
        literal(0),
    )
)


class Room:
    """Room for new data.

    Args:
        database: The database, which records the sizes of all artifacts.
        folder: The data folder, whose disk is written.
        max_stored_bytes: The quota; None for none.
        min_free_bytes: The floor of free disk space; None for a share of the disk.
    """

    def __init__(
        self, database: Database, folder: Path, max_stored_bytes: int | None, min_free_bytes: int | None
    ) -> None:
        self._database = database
        self._folder = folder
        self._max_stored_bytes = max_stored_bytes
        self._min_free_bytes = min_free_bytes

    def check(self, more_bytes: int = 1) -> None:
        """Check that there is room on the disk and within the quota.

        Raises:
            StorageFull: There is not.
            Unavailable: The database can't be read.
        """
        self.check_disk(more_bytes)
        self.check_quota(more_bytes)

    def check_disk(self, more_bytes: int = 1) -> None:
        """Check that the disk has room.

        Raises:
            StorageFull: It has not.
        """
        if more_bytes > self.disk_bytes_left():
            raise self.disk_full()

    def check_quota(self, more_bytes: int = 1) -> None:
        """Check that the quota has room.

        Raises:
            StorageFull: It has not.
            Unavailable: The database can't be read.
        """
        if self._max_stored_bytes is not None:
            with self._database.read() as connection:
                check_quota(connection, self._max_stored_bytes, more_bytes)

    def disk_bytes_left(self) -> int:
        """Return how much may be written until only the floor is free; negative below it."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:  # the write says what is wrong
            return MAX_BYTES
        floor = self._min_free_bytes
        if floor is None:
            floor = min(MOST_FREE_BYTES, int(FREE_SHARE * disk.f_blocks * disk.f_frsize))
        return disk.f_bavail * disk.f_frsize - floor

    def bytes_left(self) -> int:
        """Return how much may be stored, on the disk and within the quota."""
        left = self.disk_bytes_left()
        if self._max_stored_bytes is not None:
            with self._database.read() as connection:
                left = min(left, self._max_stored_bytes - stored_bytes(connection))
        return left

    def disk_full(self) -> StorageFull:
        """Return the error for a disk that has no room."""
        return StorageFull(
            "The disk of the service has no room for this. Delete datasets, parameters or jobs, or free "
            f"space on it; {variable('min_free_bytes')} is kept free for running jobs.",
            retry_after_seconds=retry_after.DISK_FULL_SECONDS,
        )


def stored_bytes(connection: Connection) -> int:
    """Return the size of all datasets, parameter sets and checkpoints, of all owners."""
    return int(connection.scalar(_STORED_BYTES) or 0)


def check_quota(connection: Connection, max_stored_bytes: int | None, more_bytes: int = 0) -> None:
    """Check that the quota has room, also in a transaction that has inserted the rows.

    Raises:
        StorageFull: It has not.
    """
    if max_stored_bytes is None:
        return
    if stored_bytes(connection) + more_bytes > max_stored_bytes:
        raise StorageFull(
            f"The service may store {max_stored_bytes} bytes, and has no room for this beside its data. "
            f"Delete datasets, parameters or jobs, or raise {variable('max_stored_bytes')}.",
            retry_after_seconds=retry_after.DISK_FULL_SECONDS,
        )
