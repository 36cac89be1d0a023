"""Files packed with gzip or Zstandard: told by how they begin, unpacked within a limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from service.datasets.sources.read_errors import refusing
from service.errors import ContentTooLarge, FieldError, InvalidRequest
from service.specs.upload import Packing

MAGIC: Final[Mapping[Packing, bytes]] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_CHUNK_BYTES = 2**20


def unpacked(path: Path, declared: Packing | None, most_bytes: int) -> Path:
    """The file that a packed one holds, written beside it; the file itself if it isn't packed.

    Args:
        path: the file; it lies in a folder of its own.
        declared: the packing that the client names; one that it doesn't name is found all the same.
        most_bytes: of the unpacked file.

    Raises:
        ContentTooLarge: it is larger.
        InvalidRequest: the packing is another than declared, or broken.
    """
    with path.open("rb") as file:
        head = file.read(4)
    packing = next((name for name, magic in MAGIC.items() if head.startswith(magic)), None)
    if declared not in (None, packing):
        detail = f"Content-Encoding says {declared}, and the body doesn't begin as such a one."
        raise InvalidRequest(detail, [FieldError("#", detail)])
    if packing is None:
        return path
    target = path.with_name(f"{path.name}.unpacked")
    written = 0
    with (
        refusing(packing),
        path.open("rb") as packed,
        pa.input_stream(packed, compression=packing) as source,
        target.open("wb") as file,
    ):
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > most_bytes:
                raise ContentTooLarge(f"Unpacked, it has more than the {most_bytes} bytes that are taken.")
            file.write(chunk)
    return target
