"""The number of values in a JSON document, counted before it is parsed.

A parsed value takes more memory than its text: an empty array has two characters, and 64 bytes as a list.
The limits bound the memory and the time of parsing, and of what follows.
"""

from collections.abc import Iterator, Mapping

from service.errors import ContentTooLarge

MAX_VALUES = 20_000_000
MAX_NAMES = 5_000_000
MAX_CONTAINERS = 2_000_000
# What is counted, by the characters of which each has one outside of texts.
_LIMITS: Mapping[bytes, tuple[int, str]] = {
    b",": (MAX_VALUES, "values"),
    b":": (MAX_NAMES, "names"),
    b"[{": (MAX_CONTAINERS, "arrays and objects"),
}
_PIECE_BYTES = 2**20


def check_size(body: bytes) -> None:
    """Check the number of values in a JSON document.

    Raises:
        ContentTooLarge: It is more than the limits.
    """
    for characters, (limit, noun) in _LIMITS.items():
        # Texts may have these characters, too, so that counting all of them gives an upper bound.
        if _count(body, characters) > limit and _exceeds(_without_texts(body), characters, limit):
            raise ContentTooLarge(
                f"The body has more than {limit:,} {noun} of JSON; send a large table as CSV or Parquet, and "
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
    """Yield a JSON document in pieces, without the content of its texts."""
    is_text, lone_backslash = False, b""
    for start in range(0, len(body), _PIECE_BYTES):
        piece = (lone_backslash + body[start : start + _PIECE_BYTES]).replace(b"\\\\", b"")
        lone_backslash = b"\\" if piece.endswith(b"\\") else b""
        parts = piece.removesuffix(b"\\").replace(b'\\"', b"").split(b'"')  # in turn outside and inside
        yield b"".join(parts[is_text::2])
        is_text ^= len(parts) % 2 == 0
