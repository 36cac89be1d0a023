"""The command `fitserve check`: show the settings, and try what a start needs without changing anything."""

import errno
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from service.configuration import Configuration, named, shown, variable
from service.errors import Unavailable
from service.settings import Settings
from service.start_checks import check_folders, folder_unusable, listen
from service.start_errors import ExitStatus, StartError, StartFailed
from service.storage.artifact_faults import check_usable
from service.storage.identity import bound_identity, check_identity
from service.storage.migrate import inspect
from service.storage.prepare import why
from service.storage.storage import Storage

OK = "ok"
CREATED = "is created by a start"


def setting_lines(
    configuration: Configuration, settings: Settings, invalid: Collection[str]
) -> Iterator[str]:
    """Yield a line for each setting: variable, value and source; an invalid value as it was given."""
    width = max(len(variable(name)) for name in Settings.model_fields)
    for name, value in settings:
        is_refused = name in invalid and name in configuration.values
        text = shown(name, configuration.values[name] if is_refused else value)
        source = f"{configuration.source(name)}{', invalid' if is_refused else ''}"
        yield f"{variable(name):{width}} = {text} ({source})"


def try_start(settings: Settings, invalid: Collection[str]) -> Iterator[tuple[str, str | StartError]]:
    """Try the parts that a start needs, except those whose settings are invalid.

    Yields:
        The name of each part, and `ok`, what a start does, or why it fails.
    """
    if not {"host", "port"} & {*invalid}:
        yield "address", _tried(ExitStatus.ADDRESS, lambda: _listen(settings))
    if "data_dir" in invalid:
        return
    folder = _tried(ExitStatus.STORE, lambda: _folder(settings))
    yield "data folder", folder
    has_folder = not isinstance(folder, StartError)
    try:
        with Storage.open(settings) as storage:
            # Without the data folder, the database and the artifacts in it fail for the same reason.
            schema: str | StartError = ""
            if has_folder or settings.database_url is not None:
                schema = _tried(ExitStatus.DATABASE, lambda: inspect(storage.database))
                yield "database", schema
            if has_folder or settings.artifacts_url is not None:
                artifacts = _tried(ExitStatus.STORE, lambda: _artifacts(settings, storage, schema == OK))
                yield "artifacts", artifacts
    except StartFailed as failed:
        for cause in failed.causes:
            yield "database" if cause.status is ExitStatus.DATABASE else "artifacts", cause


def _tried(status: ExitStatus, check: Callable[[], str]) -> str | StartError:
    try:
        return check()
    except StartError as cause:
        return cause
    except Unavailable as error:
        return StartError(status, f"{why(error)} A start waits for it.")


def _listen(settings: Settings) -> str:
    listen(settings).close()
    return OK


def _folder(settings: Settings) -> str:
    folder = settings.data_dir.absolute()
    try:
        folder.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise folder_unusable(folder, error) from None
    else:
        check_folders(settings)
        return OK
    above = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK):
        most_bytes = os.pathconf(above, "PC_NAME_MAX")
        if all(len(os.fsencode(name)) <= most_bytes for name in folder.relative_to(above).parts):
            return CREATED
        raise folder_unusable(folder, OSError(errno.ENAMETOOLONG, ""))
    raise StartError(
        ExitStatus.STORE, f"The folder {folder} ({named('data_dir')}) can't be created in {above}."
    )


def _artifacts(settings: Settings, storage: Storage, has_schema: bool) -> str:
    location = settings.artifacts()
    is_missing = isinstance(location, Path) and not location.exists()
    if not is_missing:
        check_usable(storage.artifacts)
    if has_schema and (identity := bound_identity(storage.database)) is not None:
        check_identity(storage.artifacts, identity)
    return CREATED if is_missing else OK
