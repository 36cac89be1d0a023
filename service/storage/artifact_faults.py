"""What an error of the artifact store means: whether it may pass by itself, and otherwise what to change."""

import errno
import re
from typing import Protocol

from service.configuration import named, without_password
from service.errors import Unavailable
from service.start_errors import ExitStatus, StartError

_TRANSIENT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
# Stores without credentials ask for them at these addresses of a cloud's own machines.
_CREDENTIALS = re.compile(
    "169.254.169.254|metadata.google|credential|Account must be|InvalidAccessKeyId|AccessDenied|"
    "SignatureDoesNotMatch|necessary privileges|authenticat|status code: 40[13]",
    re.I,
)
_TRANSIENT = re.compile("error sending request|timed out|status code: 5|500 Internal|503 |429 ")
_BUCKET = re.compile("NoSuchBucket|NotFound|not found", re.I)


class _Store(Protocol):
    """Artifacts; see `service.storage.artifacts`."""

    location: str

    def create(self) -> None: ...

    def ping(self) -> None: ...


def check_usable(artifacts: _Store) -> None:
    """Create the folder of the artifacts if it is missing, and check that they can be written and read.

    Raises:
        Unavailable: They can't now, which may pass.
        StartError: They can't until something is changed.
    """
    try:
        artifacts.create()
        artifacts.ping()
    except Unavailable as error:
        if error.__cause__ is None or _may_pass(error.__cause__):
            raise
        raise unusable(artifacts.location, error.__cause__) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _TRANSIENT_ERRNOS
    text = str(error)
    return _TRANSIENT.search(text) is not None and _CREDENTIALS.search(text) is None


def unusable(location: str, error: BaseException) -> StartError:
    """Return the sentence for an error that does not pass."""
    text = str(error)
    if "://" not in location:
        setting, reason = named("data_dir"), getattr(error, "strerror", None) or text
        sentence = (
            f"The folder {location} in {setting} can't be written: {reason}. Give this user write access."
        )
        return StartError(ExitStatus.STORE, sentence)
    setting, shown = named("artifacts_url"), without_password(location)
    if _CREDENTIALS.search(text):
        remedy = "Set the credentials of the store, such as AWS_ACCESS_KEY_ID."
    elif _BUCKET.search(text):
        remedy = f"Create the bucket, or correct its name in {setting}."
    else:
        remedy = f"Correct {setting}, which is a URL such as s3://bucket/folder, gs://… or az://…."
    reason = " ".join(text.partition("\n")[0].split()).rstrip(".").replace(location, shown)
    return StartError(ExitStatus.STORE, f"The artifact store {shown} can't be used: {reason}. {remedy}")
