"""Translation of errors that libraries raise for broken files into errors of the request."""

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from zipfile import BadZipFile

import pyarrow as pa
from safetensors import SafetensorError

from service.errors import FieldError, FitserveError, InvalidRequest, shorten
from service.file_errors import OF_FILE_SYSTEM

_MAX_REASON_CHARACTERS = 200
_BYTES = re.compile(r"\bb['\"]")  # bytes as Python shows them
# Errors whose text is written for readers. That of others, such as TypeError, names objects of Python.
_EXPLAINED = (pa.ArrowException, BadZipFile, EOFError, LZMAError, OSError, SafetensorError, zlib.error)


@contextmanager
def refuse_unreadable(format_name: str, pointer: str = "#") -> Iterator[None]:
    """Raise `InvalidRequest` for any error that a library raises about the content of a file.

    A library may raise an error of any type for a file that lies about its content, so no list of types is
    complete: numpy's parser of headers raises TokenError and SyntaxError, for instance.

    Args:
        format_name: Name of the expected format, for the message.
        pointer: Pointer to the part of the file that is read.

    Raises:
        InvalidRequest: The content can't be read.
        MemoryError: The content needs more memory than allowed.
        OSError: The file system fails: the disk is full, or the file is gone.
    """
    try:
        yield
    except (FitserveError, MemoryError):
        raise
    except Exception as error:
        if getattr(error, "errno", None) in OF_FILE_SYSTEM:
            raise
        detail = f"The file can't be read as {format_name}{_reason(error)}."
        raise InvalidRequest(detail, [FieldError(pointer, detail)]) from None


def _reason(error: Exception) -> str:
    """Return the reason of an error as the end of a sentence; empty if its text is not for readers."""
    lines = str(error).splitlines() if isinstance(error, _EXPLAINED) else []
    if lines and _BYTES.search(lines[0]):
        return ""
    return f": {shorten(lines[0], _MAX_REASON_CHARACTERS).rstrip('.')}" if lines else ""
