"""Artifacts: the content of datasets, parameter sets and checkpoints, in a folder or an object store.

An artifact is written once, under a unique name, and published by the database row that names it. Artifacts
that no row names are unpublished, and are pruned eventually.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import from_url
from ulid import ULID

from service import errors, retry_after
from service.configuration import without_password
from service.file_errors import unavailable
from service.storage.artifact_faults import unusable

log = structlog.get_logger()

T = TypeVar("T")

Content = bytes | Path | Callable[[Path], object]
"""Bytes, a file with the content, or a function that writes the content to a path."""
# Name of the object with the identity of the store.
IDENTITY = "identity"
# Size of a write that shows whether there is room: an empty file needs none.
PING_BYTES = 4096
# Retries within a request of a client, whose error then names the store; callers try again later.
# No `client_options` beside it: they would replace those of the environment, such as AWS_ALLOW_HTTP.
STORE_LIMITS = {"retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}}
# Batch size of names: databases limit the bind parameters of a statement to tens of thousands.
NAMES_PER_BATCH = 1000


class Artifacts:
    """Artifacts in a folder or an object store.

    Args:
        location: Folder, or URL that obstore accepts (`s3://…`, `gs://…`).
        cache: Folder where artifacts of an object store are cached when they are read as files.

    Attributes:
        location: Where the artifacts are, without passwords.
    """

    def __init__(self, location: str | Path, cache: Path) -> None:
        self.location = without_password(str(location))
        self._backend: _Backend = (
            _Folder(location) if isinstance(location, Path) else _ObjectStore(location, cache)
        )
        self._expected: str | None = None

    def put(self, prefix: str, content: Content) -> str:
        """Write an artifact durably.

        Args:
            prefix: Prefix of the name.
            content: Content. A file is moved, not copied, if artifacts are a folder of the same file system.

        Returns:
            Name of the artifact.

        Raises:
            Unavailable: If it can't be written.
        """
        (name,) = self.put_all([(prefix, content)])
        return name

    def put_all(self, contents: Sequence[tuple[str, Content]]) -> Sequence[str]:
        """Write several artifacts, each with its prefix, faster than one by one; return their names.

        Raises:
            Unavailable: If any of them can't be written.
        """
        named = {f"{prefix}/{ULID()}": content for prefix, content in contents}
        with _translate_errors("The artifact can't be written"):
            self._backend.put_all(named)
        return [*named]

    def get(self, name: str) -> bytes:
        """Return the content of an artifact.

        Raises:
            ArtifactNotFound: If no such artifact exists.
            Unavailable: If it can't be read.
        """
        with _translate_errors("The artifact can't be read"), self._translate_missing():
            return self._backend.get(name)

    def path(self, name: str) -> Path:
        """Return the path of an artifact, for reading; those of an object store are downloaded once.

        Raises:
            ArtifactNotFound: If no such artifact exists.
            Unavailable: If it can't be read.
        """
        with _translate_errors("The artifact can't be read"), self._translate_missing():
            return self._backend.path(name)

    def copy(self, name: str, path: Path) -> None:
        """Write the content of an artifact to a path that does not exist: a hard link where this is possible.

        Raises:
            ArtifactNotFound: If no such artifact exists.
            Unavailable: If it can't be read or written.
        """
        source = self.path(name)
        with _translate_errors("The artifact can't be copied"), self._translate_missing():
            try:
                path.hardlink_to(source)
            except FileNotFoundError:
                raise
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, path)

    def load(self, name: str, read: Callable[[Path], T]) -> T:
        """Read an artifact as a file, which may be deleted at any time before it is open.

        Args:
            name: Name of the artifact.
            read: Opens the file and returns what it contains.

        Raises:
            ArtifactNotFound: If no such artifact exists.
            Unavailable: If it can't be read.
        """
        with _translate_errors("The artifact can't be read"), self._translate_missing():
            return read(self._backend.path(name))

    def delete(self, name: str) -> None:
        """Delete an artifact; a missing one is ignored.

        Raises:
            Unavailable: If it can't be deleted.
        """
        with _translate_errors("The artifact can't be deleted"), suppress(FileNotFoundError):
            self._backend.delete(name)

    def discard(self, names: Iterable[str]) -> int:
        """Delete unreferenced artifacts; return their number. Pruning retries those that failed."""
        removed = 0
        for name in names:
            try:
                self.delete(name)
                removed += 1
            except errors.Unavailable as error:
                log.warning("artifact not deleted", artifact=name, reason=error.detail)
        return removed

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]:
        """Yield batches of the names with a prefix that were written at least `age` ago.

        They include the partial files of processes that were killed while writing.

        Raises:
            Unavailable: If artifacts can't be listed.
        """
        with _translate_errors("Artifacts can't be listed"):
            yield from self._backend.old(prefix, age)

    def tidy(self, prefix: str, age: timedelta) -> None:
        """Remove empty folders and cached downloads that were unused for at least `age`.

        Raises:
            Unavailable: If artifacts can't be listed.
        """
        with _translate_errors("Artifacts can't be listed"):
            self._backend.tidy(prefix, age)

    def create(self) -> None:
        """Create the folder of the artifacts; an object store must exist.

        Raises:
            Unavailable: It can't be created.
        """
        with _translate_errors(f"The folder {self.location} can't be created"):
            self._backend.create()

    def identity(self) -> str | None:
        """Return the identity of the store; None if it has none.

        Raises:
            Unavailable: It can't be read.
        """
        with _translate_errors("The artifacts can't be read"), suppress(FileNotFoundError):
            return self._backend.get(IDENTITY).decode(errors="replace")
        return None

    def identify(self, identity: str) -> None:
        """Write the identity of the store.

        Raises:
            Unavailable: It can't be written.
        """
        with _translate_errors("The artifacts can't be written"):
            self._backend.put_all({IDENTITY: identity.encode()})

    def expect(self, identity: str | None) -> None:
        """Set the identity that `ping` compares; None compares none."""
        self._expected = identity

    def ping(self) -> None:
        """Check that artifacts can be written and read, and that they are those of the database.

        Raises:
            Unavailable: If they can't, or aren't.
        """
        with _translate_errors(f"The artifacts at {self.location} can't be written and read"):
            name, content = f"ping-{ULID()}", bytes(PING_BYTES)
            self._backend.put_all({name: content})
            is_equal = self._backend.get(name) == content
            self._backend.delete(name)
        if not is_equal or (self._expected is not None and self.identity() != self._expected):
            raise self._is_elsewhere()

    def _is_elsewhere(self) -> errors.Unavailable:
        detail = (
            f"The artifacts are not at {self.location} now; was the folder moved, or another one mounted?"
        )
        return errors.Unavailable(detail, retry_after_seconds=retry_after.ARTIFACTS_SECONDS)

    @contextmanager
    def _translate_missing(self) -> Iterator[None]:
        """Raise ArtifactNotFound for FileNotFoundError, or Unavailable if the whole store is missing."""
        try:
            yield
        except FileNotFoundError as error:
            if self.identity() is None:
                raise self._is_elsewhere() from error
            raise errors.ArtifactNotFound() from error


class _Backend(Protocol):
    """Storage of artifacts; raises FileNotFoundError for missing ones, else OSError or BaseError."""

    def create(self) -> None: ...

    def put_all(self, contents: Mapping[str, Content]) -> None: ...

    def get(self, name: str) -> bytes: ...

    def path(self, name: str) -> Path: ...

    def delete(self, name: str) -> None: ...

    def old(self, prefix: str, age: timedelta) -> Iterator[Sequence[str]]: ...

    def tidy(self, prefix: str, age: timedelta) -> None: ...


class _Folder:
    """Artifacts in a folder, local or shared between machines."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)

    def put_all(self, contents: Mapping[str, Content]) -> None:
        paths = {self._root / name: content for name, content in contents.items()}
        try:
            for path, content in paths.items():
                self._write(path, content)
            self._sync(paths)  # syncing the first file costs most; the others add little
        except BaseException:  # all or none: remove the files that were written, and raise
            for path in paths:
                path.unlink(missing_ok=True)
            raise

    def _write(self, path: Path, content: Content) -> None:
        # Not the root: a folder in place of one that was moved away would hide its artifacts.
        for folder in reversed(path.relative_to(self._root).parents[:-1]):
            (self._root / folder).mkdir(exist_ok=True)
        if isinstance(content, Path):
            content.replace(path)
        else:
            partial = path.with_name(f"{path.name}.partial")
            try:
                _write(content, partial)
                partial.replace(path)
            except BaseException:  # remove the partial file, and raise
                partial.unlink(missing_ok=True)
                raise

    def _sync(self, files: Iterable[Path]) -> None:
        """Sync files and their parent folders to disk."""
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
            for first in range(0, len(names), NAMES_PER_BATCH):
                yield names[first : first + NAMES_PER_BATCH]

    def tidy(self, prefix: str, age: timedelta) -> None:
        _remove_empty_folders(self._root / prefix, age)


def _write(content: bytes | Callable[[Path], object], path: Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def _old_files(root: Path, age: timedelta) -> Iterator[Sequence[Path]]:
    """Yield the files below a folder that are unchanged for at least `age`, folder by folder."""
    for folder, _, files in os.walk(root):
        yield [path for file in files if _is_old(path := Path(folder) / file, age)]


def _remove_empty_folders(root: Path, age: timedelta) -> None:
    """Remove the empty folders below `root` that are unchanged for at least `age`."""
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if path != root and _is_old(path, age):
            with suppress(OSError):  # not empty
                path.rmdir()


def _is_old(path: Path, age: timedelta) -> bool:
    """Return whether a path is unchanged for at least `age`; False for a missing one."""
    try:
        return path.stat().st_mtime < time.time() - age.total_seconds()
    except FileNotFoundError:
        return False


class _ObjectStore:
    """Artifacts in an object store; those read as files are cached in a folder."""

    def __init__(self, url: str, cache: Path) -> None:
        limits: dict[str, Any] = {} if url.startswith("file:") else STORE_LIMITS
        try:
            self._store = from_url(url, **limits)
        except (BaseError, ValueError) as error:
            raise unusable(url, error) from None
        self._cache = cache

    def create(self) -> None:
        pass

    def put_all(self, contents: Mapping[str, Content]) -> None:
        for name, content in contents.items():
            self._put(name, content)

    def _put(self, name: str, content: Content) -> None:
        if isinstance(content, bytes | Path):
            obstore.put(self._store, name, content)
            return
        folder = (self._cache / name).parent  # `tidy` finds the files of a killed process there
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder) as file:
            _write(content, Path(file.name))
            obstore.put(self._store, name, Path(file.name))

    def get(self, name: str) -> bytes:
        return obstore.get(self._store, name).bytes().to_bytes()

    def path(self, name: str) -> Path:
        path = self._cache / name
        with suppress(FileNotFoundError):
            os.utime(path)  # marks it as used for `tidy`
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
def _translate_errors(summary: str) -> Iterator[None]:
    """Raise Unavailable, with `summary` and the reason, for errors of the file system or the object store."""
    try:
        yield
    except OSError as error:
        raise unavailable(error, summary, retry_after.ARTIFACTS_SECONDS) from error
    except BaseError as error:
        reason = str(error).partition("\n")[0].rstrip(".")  # continues with the causes
        raise errors.Unavailable(
            f"{summary}: {reason}.", retry_after_seconds=retry_after.ARTIFACTS_SECONDS
        ) from error
