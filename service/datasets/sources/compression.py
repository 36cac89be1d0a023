"""Decompression of gzip and Zstandard files, up to a size limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from service.datasets.sources.read_errors import refuse_unreadable
from service.errors import ContentTooLarge, FieldError, InvalidRequest
from service.specs.upload import Compression

MAGIC: Final[Mapping[Compression, bytes]] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_CHUNK_BYTES = 2**20


def decompress(path: Path, declared: Compression | None, max_bytes: int) -> Path:
    """Decompress a file into a new file beside it, once.

    Args:
        path: The file, in a folder of its own.
        declared: The compression that the client declares; None: detect it from the content.
        max_bytes: Maximum size of the decompressed file.

    Returns:
        The path of that file; `path` if the file is not compressed.

    Raises:
        ContentTooLarge: The decompressed file is larger than `max_bytes`.
        InvalidRequest: The compression differs from the declared one, or the file is broken.
    """
    with path.open("rb") as file:
        head = file.read(4)
    found = next((name for name, magic in MAGIC.items() if head.startswith(magic)), None)
    if declared not in (None, found):
        detail = f"Content-Encoding is {declared}, but the body is not compressed with {declared}."
        raise InvalidRequest(detail, [FieldError("#", detail)])
    if found is None:
        return path
    target = path.with_name(f"{path.name}.decompressed")
    if target.exists():  # by an earlier call; a table may be mapped from it
        return target
    written = 0
    with (
        refuse_unreadable(found),
        path.open("rb") as compressed,
        pa.input_stream(compressed, compression=found) as source,
        target.open("wb") as file,
    ):
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > max_bytes:
                raise ContentTooLarge(f"Decompressed, the body exceeds the limit of {max_bytes} bytes.")
            file.write(chunk)
    return target
