"""The number of texts, names, arrays and objects in a JSON document, counted before it is parsed.

These take more memory than they have characters: an empty array has two, and 64 bytes as a list. The limits
bound the memory and the time of parsing, and of what follows. Numbers are limited by the bytes of the body:
each takes at most nine times its characters, and the parser twelve times those of the document.
"""

from collections.abc import Iterator, Mapping

from service.errors import ContentTooLarge

MAX_TEXTS = 20_000_000  # names are texts, too
MAX_NAMES = 5_000_000
MAX_CONTAINERS = 2_000_000
# How many of some characters a document may have outside of texts, and what that means.
_LIMITS: Mapping[bytes, tuple[int, str]] = {
    b'"': (2 * MAX_TEXTS, f"{MAX_TEXTS:,} texts"),
    b":": (MAX_NAMES, f"{MAX_NAMES:,} names"),
    b"[{": (MAX_CONTAINERS, f"{MAX_CONTAINERS:,} arrays and objects"),
}
_PIECE_BYTES = 2**20


def check_size(body: bytes) -> None:
    """Check how many texts, names, arrays and objects a JSON document has.

    Raises:
        ContentTooLarge: They are more than the limits.
    """
    for characters, (limit, most) in _LIMITS.items():
        # Texts may have these characters, too, so that counting all of them gives an upper bound.
        if _count(body, characters) > limit and _exceeds(_without_texts(body), characters, limit):
            raise ContentTooLarge(
                f"The body has more than {most} of JSON; send a large table as CSV or Parquet, and "
                "large tensors as .npz or .safetensors."
            )


def _count(text: bytes, characters: bytes) -> int:
    return sum(text.count(character) for character in characters)


def _exceeds(pieces: Iterator[bytes], characters: bytes, limit: int) -> bool:
    count = 0
    for piece in pieces:
        count += _count(piece, characters)
        if count > limit:
            return True
    return False


def _without_texts(body: bytes) -> Iterator[bytes]:
    """Yield a JSON document in pieces, without the content of its texts; their quotes are at the end."""
    is_text, lone_backslash = False, b""
    for start in range(0, len(body), _PIECE_BYTES):
        piece = (lone_backslash + body[start : start + _PIECE_BYTES]).replace(b"\\\\", b"")
        lone_backslash = b"\\" if piece.endswith(b"\\") else b""
        parts = piece.removesuffix(b"\\").replace(b'\\"', b"").split(b'"')  # in turn outside and inside
        yield b"".join(parts[is_text::2]) + b'"' * (len(parts) - 1)
        is_text ^= len(parts) % 2 == 0
