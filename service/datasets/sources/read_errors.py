"""Translation of errors that libraries raise for broken files into errors of the request."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import BadZipFile

import pyarrow as pa
from safetensors import SafetensorError

from service.errors import FieldError, InvalidRequest

DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def refuse_unreadable(format_name: str, pointer: str = "#") -> Iterator[None]:
    """Raise `InvalidRequest` for any error that a library raises about the content of a file.

    Args:
        format_name: Name of the expected format, for the message.
        pointer: Pointer to the part of the file that is read.

    Raises:
        InvalidRequest: The content can't be read.
        MemoryError: The content needs more memory than allowed.
        OSError: The disk is full.
    """
    try:
        yield
    except MemoryError:
        raise
    except (
        pa.ArrowException,
        BadZipFile,
        EOFError,
        LookupError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        if getattr(error, "errno", None) in DISK_FULL_ERRNOS:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        detail = f"The file can't be read as {format_name}: {reason}."
        raise InvalidRequest(detail, [FieldError(pointer, detail)]) from None
