"""Temporary folders of request bodies, one for each request."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Self

from ulid import ULID

from service import errors, retry_after
from service.file_errors import unavailable

_LOCK = "lock"
# Size of a write that shows whether there is room: an empty file needs none.
PING_BYTES = 4096


class Spool:
    """Spool of one service process; the constructor removes the spools of dead processes.

    A process holds a file lock while it lives, so that processes that share a data folder don't remove each
    other's spool.

    Args:
        location: Folder of the spools of all processes, on the same file system as the artifacts.
    """

    def __init__(self, location: Path) -> None:
        location.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(location)
        while True:
            self._folder = location / str(ULID())
            self._folder.mkdir()
            self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink > 0:
                break
            os.close(self._lock)  # a process that started concurrently considered the folder abandoned

    def make(self) -> Path:
        """Create a folder.

        Raises:
            Unavailable: If it can't be created.
        """
        folder = self.new_path()
        try:
            folder.mkdir()
        except OSError as error:
            raise _cannot_receive(error) from error
        return folder

    def ping(self) -> None:
        """Check that a body can be received.

        Raises:
            Unavailable: If it can't.
        """
        folder = self.make()
        try:
            (folder / "ping").write_bytes(bytes(PING_BYTES))
        except OSError as error:
            raise _cannot_receive(error) from error
        finally:
            self.remove(folder)

    def new_path(self) -> Path:
        """Return a path that does not exist yet."""
        return self._folder / str(ULID())

    def remove(self, folder: Path) -> None:
        """Remove a folder and its content."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the spool and release its lock."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _cannot_receive(error: OSError) -> errors.Unavailable:
    return unavailable(error, "The body can't be received", retry_after.SPOOL_SECONDS)


def _remove_abandoned(location: Path) -> None:
    for folder in location.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue  # just being created, or removed by another process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # its process lives
        finally:
            os.close(lock)
