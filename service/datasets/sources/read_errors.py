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
_TOO_WIDE = "Frame requires too much memory"  # the text of Zstandard's library
_MALLOC = re.compile(r"alloc of size (\d+) failed")
_LARGE_BYTES = 2**28  # at least the memory of a helper
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
        MemoryError: Reading needs more memory than allowed, but no part of the content is large.
        OSError: The file system fails: the disk is full, or the file is gone.
    """
    try:
        yield
    except FitserveError:
        raise
    except MemoryError as error:
        claimed = _MALLOC.search(str(error))
        if not claimed or int(claimed[1]) < _LARGE_BYTES:
            raise
        detail = (
            f"The file can't be read as {format_name}: it declares a part of {int(claimed[1]):,} bytes, "
            "which exceeds the memory limit. If the file is not damaged, write it in smaller pieces (row "
            "groups or record batches)."
        )
        raise InvalidRequest(detail, [FieldError(pointer, detail)]) from None
    except Exception as error:
        if getattr(error, "errno", None) in OF_FILE_SYSTEM:
            raise
        detail = f"The file can't be read as {format_name}{_reason(error)}."
        raise InvalidRequest(detail, [FieldError(pointer, detail)]) from None


def _reason(error: Exception) -> str:
    """Return the reason of an error as the end of a sentence; empty if its text is not for readers."""
    if _TOO_WIDE in str(error):
        return ": its window exceeds 128 MiB; compress it without `--long` and `--ultra`"
    lines = str(error).splitlines() if isinstance(error, _EXPLAINED) else []
    if lines and _BYTES.search(lines[0]):
        return ""
    return f": {shorten(lines[0], _MAX_REASON_CHARACTERS).rstrip('.')}" if lines else ""
