"""What an error of a database means: whether it may pass by itself, and otherwise what to change."""

import re
import sqlite3
from collections.abc import Sequence

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError

from service.configuration import named, without_password
from service.start_errors import ExitStatus, StartError

SETTING = named("database_url")
UNRESOLVED = re.compile("failed to resolve host")
# Errors of libpq and of the network, before a server has answered.
_NETWORK = re.compile(
    "Connection refused|Connection reset|closed the connection|timed out|timeout expired|No route to host|"
    "unreachable|does not respond|No such file or directory|failed to resolve host"
)
# What a server answers that can't accept a connection yet, or not for now.
_STARTING = re.compile(
    "starting up|shutting down|recovery|not yet accept|too many|connection slots|administrator"
)
# SQLSTATE of transient errors: connection, transaction rollback, resources, lock not available, shutdown.
_TRANSIENT_STATES = ("08", "40", "53", "55P03", "57P")
_TRANSIENT_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
_REMEDIES: Sequence[tuple[str, str]] = (
    (
        "password authentication|no password supplied|role .* does not exist|no pg_hba",
        f"Correct the user name and the password in {SETTING}, or the access rules of the server.",
    ),
    ("database .* does not exist", f"Create the database, or correct its name in {SETTING}."),
    ("failed to resolve host", f"Correct the host in {SETTING}."),
    (
        "Can't locate revision",
        "It was migrated by a newer version of Fitserve, or belongs to another program: install the version "
        f"that used it last, restore a backup from before the upgrade, or set {SETTING} to another database.",
    ),
    (
        "not a database|malformed|encrypted",
        "Restore the file from a backup, or rename the data folder to start with an empty one.",
    ),
    (
        "unable to open|readonly|read-only|permission denied|disk I/O",
        "Give this user write access to it, and to its folder if it is a file.",
    ),
    (
        "already exists|no such table|relation .* does not exist",
        f"It has the tables of another program: set {SETTING} to an empty database.",
    ),
)


def read_url(url: str) -> URL:
    """Read the URL of a database.

    Raises:
        StartError: It is malformed, or not one of SQLite or Postgres.
    """
    shown = without_password(url)
    try:
        read = make_url(url)
    except (ArgumentError, ValueError):  # their texts may contain the password
        read = None
    if read is None or "@" in (read.host or ""):
        raise StartError(
            ExitStatus.DATABASE,
            f"{SETTING} is no URL of a database: write "
            "postgresql://user:password@host:5432/name, with special characters of the password "
            "percent-encoded (`@` is `%40`, `/` is `%2F`).",
        )
    if read.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StartError(
            ExitStatus.DATABASE,
            f"{SETTING} is `{shown}`: `{read.drivername}` is not supported; use `postgresql://`, "
            "or leave it out for a SQLite file in the data folder.",
        )
    if read.get_backend_name() == "sqlite" and (read.database or ":memory:") == ":memory:":
        raise StartError(
            ExitStatus.DATABASE,
            f"{SETTING} is `{shown}`: several processes use the database, so it must be a file.",
        )
    return read


def own_message(error: BaseException) -> str:
    """Return the database's own words for an error, in one line."""
    source = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(source, OSError) and source.strerror:
        return source.strerror
    return " ".join(str(source).partition("\n")[0].split()).rstrip(".")


def is_full(error: BaseException) -> bool:
    """Return whether the disk of the database is full (53100: `disk_full` of Postgres)."""
    source = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(source, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code == sqlite3.SQLITE_FULL or getattr(source, "sqlstate", None) == "53100"


def may_pass(error: BaseException) -> bool:
    """Return whether an error may be over when the database is tried again."""
    if isinstance(error, TimeoutError):
        return True
    source = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(source, sqlite3.Error):
        return getattr(source, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _TRANSIENT_SQLITE
    state = getattr(source, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_TRANSIENT_STATES)
    # libpq has no SQLSTATE for a failed connection. After two spaces follows what a server has answered.
    text = str(source)
    if answers := re.findall(r"failed: \S+:  (.*)", text):
        return all(_STARTING.search(answer) for answer in answers)
    return _NETWORK.search(text) is not None


def unusable(url: str, error: BaseException) -> StartError:
    """Return the sentence for an error that does not pass."""
    read = make_url(url)
    name = without_password(read.render_as_string())
    what = (
        f"The database file {read.database}"
        if read.get_backend_name() == "sqlite"
        else f"The database {name}"
    )
    message = own_message(error)
    remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, message)), f"Correct {SETTING}.")
    if "Can't locate revision" in message:
        message = "its schema has an unknown version"
    return StartError(ExitStatus.DATABASE, f"{what} can't be used: {message}. {remedy}")
