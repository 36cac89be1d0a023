"""Artifacts: the bytes of datasets and checkpoints, in a folder or an object store.

An artifact is written once, under a fresh name, and published by the database row that names it: what no
row names is not there.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import from_url
from ulid import ULID

from service import errors, retry_after

log = structlog.get_logger()

Content = bytes | Path | Callable[[Path], object]
"""Bytes, a file that has them, or what writes them to a file of a given path."""
# So many names at once: a database takes no more in one statement than some ten thousand.
NAMES_AT_ONCE = 1000


class Artifacts:
    """The artifacts in one place.

    Args:
        location: a folder, made if it isn't there, or a URL that obstore takes (`s3://…`, `gs://…`).
        cache: the folder where artifacts of an object store are kept once they were read as files.
    """

    def __init__(self, location: str | Path, cache: Path) -> None:
        self._place: _Place = (
            _ObjectStore(str(location), cache) if "://" in str(location) else _Folder(Path(location))
        )

    def put(self, prefix: str, content: Content) -> str:
        """Write an artifact; once this returns, it is on the disk.

        Args:
            prefix: the folder of its name.
            content: what is in it. A file is moved, not copied, where artifacts are a folder on the same
                file system.

        Returns:
            Its name.

        Raises:
            Unavailable: when it can't be written; nothing will refer to what was.
        """
        (name,) = self.put_all([(prefix, content)])
        return name

    def put_all(self, contents: Sequence[tuple[str, Content]]) -> Sequence[str]:
        """Write several artifacts, each with its prefix, as `put` does: it takes less than one by one.

        Raises:
            Unavailable: when they can't be written; nothing will refer to what was.
        """
        named = {f"{prefix}/{ULID()}": content for prefix, content in contents}
        with _errors_of("The artifact can't be written"):
            self._place.put_all(named)
        return [*named]

    def get(self, name: str) -> bytes:
        """An artifact's bytes.

        Raises:
            ArtifactNotFound: when there is no such artifact.
            Unavailable: when it can't be read now.
        """
        with _errors_of("The artifact can't be read"), _missing():
            return self._place.get(name)

    def path(self, name: str) -> Path:
        """An artifact as a file to be read; one of an object store is downloaded once.

        Raises:
            ArtifactNotFound: when there is no such artifact.
            Unavailable: when it can't be read now.
        """
        with _errors_of("The artifact can't be read"), _missing():
            return self._place.path(name)

    def delete(self, name: str) -> None:
        """Remove an artifact; one that is gone already is no error.

        Raises:
            Unavailable: when it can't be removed now.
        """
        with _errors_of("The artifact can't be removed"), suppress(FileNotFoundError):
            self._place.delete(name)

    def discard(self, names: Iterable[str]) -> int:
        """Remove artifacts that no row names any more, and how many; housekeeping finds what stays."""
        removed = 0
        for name in names:
            try:
                self.delete(name)
                removed += 1
            except errors.Unavailable as error:
                log.warning("artifact left to housekeeping", artifact=name, reason=error.detail)
        return removed

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]:
        """The names in a folder that were written so long ago, some at a time.

        What a process left that was killed while it wrote is among them.

        Raises:
            Unavailable: when they can't be listed.
        """
        with _errors_of("Artifacts can't be listed"):
            yield from self._place.old(prefix, age)

    def tidy(self, prefix: str, age: timedelta) -> None:
        """Remove what nobody has needed for so long: empty folders, files of an object store's downloads.

        Raises:
            Unavailable: when they can't be listed.
        """
        with _errors_of("Artifacts can't be listed"):
            self._place.tidy(prefix, age)

    def ping(self) -> None:
        """Make sure that artifacts can be written.

        Raises:
            Unavailable: when they can't.
        """
        with _errors_of("Artifacts can't be written"):
            name = f"ping-{ULID()}"
            self._place.put_all({name: b""})
            self._place.delete(name)


class _Place(Protocol):
    """Where artifacts are; FileNotFoundError for what is not there, OSError or obstore's for all else."""

    def put_all(self, contents: Mapping[str, Content]) -> None: ...

    def get(self, name: str) -> bytes: ...

    def path(self, name: str) -> Path: ...

    def delete(self, name: str) -> None: ...

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]: ...

    def tidy(self, prefix: str, age: timedelta) -> None: ...


class _Folder:
    """A folder of this machine, or one that machines share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def put_all(self, contents: Mapping[str, Content]) -> None:
        paths = {self._root / name: content for name, content in contents.items()}
        try:
            for path, content in paths.items():
                self._write(path, content)
            self._sync(paths)  # all together: the first takes most of what the others would
        except BaseException:
            for path in paths:
                path.unlink(missing_ok=True)
            raise

    def _write(self, path: Path, content: Content) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            content.replace(path)
        else:
            partial = path.with_name(f"{path.name}.partial")
            try:
                _write(content, partial)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def _sync(self, files: Iterable[Path]) -> None:
        """Force files and the folders that lead to them onto the disk."""
        above = self._root.parents
        folders = {folder: None for file in files for folder in file.parents if folder not in above}
        for path in [*files, *folders]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def get(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def path(self, name: str) -> Path:
        path = self._root / name
        path.stat()
        return path

    def delete(self, name: str) -> None:
        (self._root / name).unlink()

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]:
        for files in _old_files(self._root / prefix, age):
            names = [str(path.relative_to(self._root)) for path in files]
            for first in range(0, len(names), NAMES_AT_ONCE):
                yield names[first : first + NAMES_AT_ONCE]

    def tidy(self, prefix: str, age: timedelta) -> None:
        _remove_empty_folders(self._root / prefix, age)


def _write(content: bytes | Callable[[Path], object], path: Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def _old_files(root: Path, age: timedelta) -> Iterator[Sequence[Path]]:
    """The files below a folder that have not changed for so long, folder by folder."""
    for folder, _, files in os.walk(root):
        yield [path for file in files if _is_old(path := Path(folder) / file, age)]


def _remove_empty_folders(root: Path, age: timedelta) -> None:
    """Remove the folders below one in which nothing has been for so long."""
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if path != root and _is_old(path, age):
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _is_old(path: Path, age: timedelta) -> bool:
    """Whether a file or folder has not changed for so long; one that is gone is of no age."""
    try:
        return path.stat().st_mtime < time.time() - age.total_seconds()
    except FileNotFoundError:
        return False


class _ObjectStore:
    """Whatever obstore takes; what is read as a file is kept in a folder."""

    def __init__(self, url: str, cache: Path) -> None:
        self._store = from_url(url)
        self._cache = cache

    def put_all(self, contents: Mapping[str, Content]) -> None:
        for name, content in contents.items():
            self._put(name, content)

    def _put(self, name: str, content: Content) -> None:
        if isinstance(content, bytes | Path):
            obstore.put(self._store, name, content)
            return
        folder = (self._cache / name).parent  # where `tidy` finds what a killed process leaves
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder) as file:
            _write(content, Path(file.name))
            obstore.put(self._store, name, Path(file.name))

    def get(self, name: str) -> bytes:
        return obstore.get(self._store, name).bytes().to_bytes()

    def path(self, name: str) -> Path:
        path = self._cache / name
        with suppress(FileNotFoundError):
            os.utime(path)  # it is needed: `tidy` leaves it
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{ULID()}")
        try:
            with partial.open("wb") as file:
                for chunk in obstore.get(self._store, name).stream():
                    file.write(chunk)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def delete(self, name: str) -> None:
        (self._cache / name).unlink(missing_ok=True)
        obstore.delete(self._store, name)

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]:
        latest = datetime.now(UTC) - age
        for chunk in obstore.list(self._store, prefix):
            yield [meta["path"] for meta in chunk if meta["last_modified"] < latest]

    def tidy(self, prefix: str, age: timedelta) -> None:
        for path in chain.from_iterable(_old_files(self._cache / prefix, age)):
            path.unlink(missing_ok=True)
        _remove_empty_folders(self._cache / prefix, age)


@contextmanager
def _missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise errors.ArtifactNotFound() from error


@contextmanager
def _errors_of(what: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        reason = str(error).partition("\n")[0]  # an object store's goes on with all that led to it
        raise errors.Unavailable(
            f"{what}: {reason}", retry_after_seconds=retry_after.ARTIFACTS_SECONDS
        ) from error
