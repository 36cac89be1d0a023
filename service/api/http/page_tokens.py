"""Page tokens: positions in a list, which name the list and can't be altered by accident."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import TypeVar

from service.errors import FieldError, InvalidRequest

_CHECKSUM_BYTES = 6
P = TypeVar("P")


def page_token(collection: str, position: str) -> str:
    """Return the token of a position.

    Args:
        collection: Name of the list.
        position: The position, after which the page starts.
    """
    checksum = hashlib.blake2b(f"{collection}\n{position}".encode(), digest_size=_CHECKSUM_BYTES).digest()
    return base64.urlsafe_b64encode(checksum + position.encode()).decode().rstrip("=")


def position_of(collection: str, token: str, parse: Callable[[str], P]) -> P:
    """Return the position of a token.

    Args:
        collection: Name of the list.
        token: The token.
        parse: Parses the position; raises `ValueError` or `OverflowError` if it is none.

    Raises:
        InvalidRequest: If it is not a token of this list.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        position = base64.b64decode(padded, altchars=b"-_", validate=True)[_CHECKSUM_BYTES:].decode()
        if page_token(collection, position) == token:
            return parse(position)
    except (binascii.Error, ValueError, OverflowError):
        pass
    detail = (
        "This is not a page token of this list; send the `next_page_token` of its previous page, unchanged."
    )
    raise InvalidRequest(errors=[FieldError("?page_token", detail)])
