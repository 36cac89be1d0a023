"""Where bodies lie while they are received and read: a folder each, gone when its request is answered."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Self

from ulid import ULID

from service import errors, retry_after

_LOCK = "lock"


class Spool:
    """The folders of one service process. What a process that has died left behind is removed at the start.

    A process holds a lock as long as it lives, so that processes which share a data folder leave each
    other's bodies alone.

    Args:
        location: the folder of all processes' spools, on the same file system as the artifacts.
    """

    def __init__(self, location: Path) -> None:
        location.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(location)
        while True:
            self._folder = location / str(ULID())
            self._folder.mkdir()
            self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink > 0:
                break
            os.close(self._lock)  # a process that starts beside this one took the folder for left behind

    def make(self) -> Path:
        """A new folder.

        Raises:
            Unavailable: when it can't be made.
        """
        folder = self.place()
        try:
            folder.mkdir()
        except OSError as error:
            detail = f"No body can be received: {error.strerror}."
            raise errors.Unavailable(detail, retry_after_seconds=retry_after.SPOOL_SECONDS) from error
        return folder

    def place(self) -> Path:
        """Where a file may be written; nothing is there yet."""
        return self._folder / str(ULID())

    def remove(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _remove_left_behind(location: Path) -> None:
    for folder in location.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue  # it is just being made, or removed by another process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # its process is alive
        finally:
            os.close(lock)
