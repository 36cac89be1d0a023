"""Checks before a start: all causes that would prevent it, before anything is started.

They import neither FastAPI nor PyTorch, so that a start that can't succeed says so at once.
"""

import errno
import os
import socket
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import structlog

from service.configuration import named
from service.errors import Unavailable
from service.file_errors import DISK_FULL, reason
from service.settings import Settings
from service.start_errors import ExitStatus, StartError, StartFailed, collected
from service.storage.database_faults import UNRESOLVED, unusable
from service.storage.prepare import prepare, why
from service.storage.storage import Storage

log = structlog.get_logger()

# Maximum number of connections that wait to be accepted.
BACKLOG = 2048
# Time for which a host name of the database may be unknown: that of a container appears when it starts.
UNRESOLVED_SECONDS = 5.0
RETRY_SECONDS = 0.5
_PROBE_BYTES = 4096
_REASONS = {
    errno.EADDRINUSE: "another process listens on this port; stop it, or choose another port",
    errno.EACCES: "this user may not use a port below 1024; choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def prepare_start(
    settings: Settings,
    errors: Sequence[StartError] = (),
    invalid: Collection[str] = (),
    port: str | None = None,
    *,
    must_exist: bool = False,
) -> socket.socket | None:
    """Check everything that a start needs; migrate the database if it is available.

    Args:
        settings: The settings.
        errors: The errors of the settings.
        invalid: Names of the invalid settings; what needs them is not checked.
        port: Name of the setting with the port to listen on.
        must_exist: Whether the data of a service must exist; otherwise their folders are created.

    Returns:
        The listening socket, if a port is given.

    Raises:
        StartFailed: With all causes.
    """
    causes, listening, invalid = [*errors], None, {*invalid}
    if (settings.artifacts_url or "").startswith("memory:"):
        sentence = f"{named('artifacts_url')} is in memory, but several processes use the artifacts."
        causes.append(StartError(ExitStatus.STORE, sentence))
    if port is not None and not invalid & {"host", port}:
        with collected(causes):
            listening = listen(settings, port)
    has_folder = False
    if "data_dir" not in invalid:
        with collected(causes):
            check_data_exist(settings) if must_exist else check_folders(settings)
            has_folder = True
    # Without the data folder, the database and the artifacts in it fail for the same reason.
    steps = {
        "database_url": has_folder or settings.database_url is not None,
        "artifacts_url": has_folder or settings.artifacts_url is not None,
    }
    with collected(causes):
        check_storage(settings, [name for name, is_possible in steps.items() if is_possible])
    if causes:
        if listening is not None:
            listening.close()
        raise StartFailed(causes)
    return listening


def listen(settings: Settings, setting: str = "port") -> socket.socket:
    """Listen on the address of the settings.

    Args:
        settings: The settings.
        setting: Name of the setting with the port.

    Raises:
        StartError: Another process listens there, or the address is not one of this machine.
    """
    host, port = settings.host, getattr(settings, setting)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        sentence = f"{named('host')} is `{host}`, which is not the name or the IP address of a host."
        raise StartError(ExitStatus.ADDRESS, sentence) from None
    # Of a name with both, the address that more clients use.
    family, address = min((each[0], each[4]) for each in found)
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        why_not = _REASONS.get(error.errno or 0, reason(error).lower())
        where = f"{host}:{port} ({named('host')}; {named(setting)})"
        raise StartError(ExitStatus.ADDRESS, f"{where} can't be listened on: {why_not}.") from None


def check_folders(settings: Settings) -> None:
    """Create the data folder, and check that it and its folders can be written.

    A full disk is no error: the service starts, so that its clients can delete something.

    Raises:
        StartError: One can't.
    """
    for folder in (settings.data_dir.absolute(), settings.spool(), settings.scratch(), settings.compiled()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE_BYTES))
        except OSError as error:
            if error.errno in DISK_FULL:
                continue
            raise folder_unusable(folder, error) from None


def folder_unusable(folder: Path, error: OSError) -> StartError:
    """Return the sentence for a folder of the service that can't be created or written."""
    why_not = "it is a file" if os.path.isfile(folder) else reason(error).lower()
    return StartError(
        ExitStatus.STORE,
        f"The folder {folder} ({named('data_dir')}) can't be written: {why_not}. Choose another folder, or "
        "give this user write access.",
    )


def check_data_exist(settings: Settings) -> None:
    """Check that a service has stored something here, for a command that must not create it.

    Raises:
        StartError: The database file or the folder of the artifacts does not exist.
    """
    locations = [*[settings.database_file()] * (settings.database_url is None), settings.artifacts()]
    for path in locations:
        if not isinstance(path, Path):
            continue
        try:
            path.stat()
        except FileNotFoundError:
            sentence = f"There is nothing to prune: {path} does not exist. Correct {named('data_dir')}."
            raise StartError(ExitStatus.STORE, sentence) from None
        except OSError as error:
            raise folder_unusable(settings.data_dir.absolute(), error) from None


def check_storage(settings: Settings, parts: Collection[str]) -> None:
    """Migrate the database and check the artifacts; log what is awaited if one is not available yet.

    Args:
        settings: The settings.
        parts: Names of the settings whose parts are checked.

    Raises:
        StartFailed: They can't be used until something is changed.
    """
    deadline = time.monotonic() + UNRESOLVED_SECONDS
    with Storage.open(settings) as storage:
        while True:
            try:
                return prepare(storage, parts)
            except Unavailable as error:
                awaited, cause = why(error), error.__cause__
            if cause is None or not UNRESOLVED.search(awaited):
                return log.warning("waiting for the storage", reason=awaited)  # type: ignore[no-any-return]
            if time.monotonic() > deadline:
                raise StartFailed([unusable(settings.database(), cause)])
            time.sleep(RETRY_SECONDS)
