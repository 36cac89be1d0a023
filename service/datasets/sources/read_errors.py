"""What a library says about a broken file, as an answer to its sender."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import BadZipFile

import pyarrow as pa
from safetensors import SafetensorError

from service.errors import FieldError, InvalidRequest

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def refusing(kind: str, pointer: str = "#") -> Iterator[None]:
    """Whatever a library raises about a file's content is an invalid request.

    Args:
        kind: what the file is meant to be.
        pointer: the part of it that is read.
    """
    try:
        yield
    except MemoryError:
        raise  # it asks for more than it may take: another answer
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
        if getattr(error, "errno", None) in DISK_FULL:
            raise  # not the file's fault
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        detail = f"The file can't be read as {kind}: {reason}."
        raise InvalidRequest(detail, [FieldError(pointer, detail)]) from None
