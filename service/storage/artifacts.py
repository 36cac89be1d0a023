"""Artifacts: the bytes of datasets and checkpoints, in a folder or an object store.

An artifact is written once, under a fresh name, and published by the database row that names it: what no
row names is not there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from ulid import ULID

from service import errors

PING = "ping"
RETRY_AFTER_SECONDS = 5


class Artifacts:
    """The artifacts in one place.

    Args:
        location: a folder, made if it isn't there, or a URL that obstore takes (`s3://…`, `gs://…`).
        cache: the folder where artifacts of an object store are kept once they were read as files.
    """

    def __init__(self, location: str | Path, cache: Path) -> None:
        self._cache = cache
        self._folder = None if "://" in str(location) else Path(location)
        self._store: ObjectStore = (
            from_url(str(location)) if self._folder is None else LocalStore(self._folder, mkdir=True)
        )

    def put(self, prefix: str, content: bytes | Path) -> str:
        """Write an artifact; once this returns, it is on the disk.

        Args:
            prefix: the folder of its name.
            content: the bytes, or the file that has them: it is moved, not copied, where artifacts are a
                folder (on the same file system).

        Returns:
            Its name.

        Raises:
            Unavailable: when it can't be written; nothing will refer to what was.
        """
        name = f"{prefix}/{ULID()}"
        try:
            if isinstance(content, Path) and self._folder is not None:
                (self._folder / prefix).mkdir(parents=True, exist_ok=True)
                content.replace(self._folder / name)
            else:
                obstore.put(self._store, name, content)
            if self._folder is not None:
                _sync(self._folder, name)
        except (BaseError, OSError) as error:
            raise _away(f"The artifact can't be written: {error}") from error
        return name

    def get(self, name: str) -> bytes:
        """An artifact's bytes.

        Raises:
            FileNotFoundError: when there is no such artifact.
        """
        return obstore.get(self._store, name).bytes().to_bytes()

    def path(self, name: str) -> Path:
        """An artifact as a file to be read; one of an object store is downloaded once.

        Raises:
            FileNotFoundError: when there is no such artifact.
        """
        if self._folder is not None:
            return self._folder / name
        path = self._cache / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{ULID()}")
            with partial.open("wb") as file:
                for chunk in obstore.get(self._store, name).stream():
                    file.write(chunk)
            partial.replace(path)
        return path

    def delete(self, name: str) -> None:
        """Remove an artifact; one that is gone already is no error."""
        with suppress(FileNotFoundError):
            obstore.delete(self._store, name)
        (self._cache / name).unlink(missing_ok=True)

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]:
        """The names in a folder that were written so long ago, some at a time.

        Raises:
            Unavailable: when they can't be listed.
        """
        latest = datetime.now(UTC) - age
        try:
            for chunk in obstore.list(self._store, prefix):
                yield [meta["path"] for meta in chunk if meta["last_modified"] < latest]
        except (BaseError, OSError) as error:
            raise _away(f"Artifacts can't be listed: {error}") from error

    def ping(self) -> None:
        """Make sure that artifacts can be written.

        Raises:
            Unavailable: when they can't.
        """
        try:
            obstore.put(self._store, PING, b"")
        except (BaseError, OSError) as error:
            raise _away(f"Artifacts can't be written: {error}") from error


def _away(detail: str) -> errors.Unavailable:
    return errors.Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)


def _sync(folder: Path, name: str) -> None:
    """Force a file and the folders that lead to it onto the disk: the local store only renames."""
    path = folder / name
    while path != folder.parent:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path = path.parent
