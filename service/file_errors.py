"""Errors of the file system as errors for clients: the storage is full, or unavailable for now."""

import errno
import os

from service import retry_after
from service.errors import StorageFull, Unavailable

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# Errors of the file system, as opposed to those that libraries raise for the content of a file.
OF_FILE_SYSTEM = DISK_FULL | {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EROFS,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
}


def reason(error: OSError) -> str:
    """Return the reason of an error without its number and its path."""
    text = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
    return text.rstrip(".")


def unavailable(error: OSError, summary: str, retry_after_seconds: int) -> Unavailable:
    """Return the error for clients.

    Args:
        error: The error of the file system.
        summary: What failed, as the beginning of a sentence.
        retry_after_seconds: When to retry, unless the disk is full; see `service.retry_after`.
    """
    detail = f"{summary}: {reason(error)}."
    if error.errno not in DISK_FULL:
        return Unavailable(detail, retry_after_seconds=retry_after_seconds)
    return StorageFull(
        f"{detail} Free space on the disk of the service.",
        retry_after_seconds=retry_after.DISK_FULL_SECONDS,
    )
