"""Compressed request bodies."""

import asyncio
import gzip
import zlib

import pytest
from backports import zstd
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from service.api.http.content_encoding import decompressed
from service.errors import InvalidRequest, UnsupportedMediaType

ENCODE = {"gzip": gzip.compress, "zstd": zstd.compress, "x-gzip": gzip.compress, "identity": bytes}


def sent(encoding: str, *chunks: bytes) -> list[bytes]:
    """Return the pieces of a body that arrives in chunks."""

    async def pieces() -> list[bytes]:
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages.append({"type": "http.request", "body": b"", "more_body": False})

        async def receive() -> dict[str, object]:
            return messages.pop(0)

        scope = {"type": "http", "headers": [(b"content-encoding", encoding.encode())]}
        return [piece async for piece in decompressed(Request(scope, receive))]

    return asyncio.run(pieces())


@given(
    encoding=st.sampled_from([*ENCODE, "GZIP"]),
    parts=st.lists(st.binary(max_size=100) | st.just(bytes(2**18)) | st.just(bytes(300_000)), max_size=3),
    chunk_bytes=st.integers(1, 50),
)
def test_a_body_is_decompressed(encoding: str, parts: list[bytes], chunk_bytes: int) -> None:
    """A body of any number of members or frames is the same however it is divided into chunks."""
    encode = ENCODE[encoding.lower()]
    body = b"".join(map(encode, parts))[:5000] if encoding == "identity" else b"".join(map(encode, parts))
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    expected = body if encoding == "identity" else b"".join(parts)
    assert b"".join(sent(encoding, *chunks)) == expected


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_arrives_in_small_pieces(encoding: str) -> None:
    """A body that grows a thousandfold is never in memory as a whole."""
    pieces = sent(encoding, ENCODE[encoding](bytes(2**24)))
    assert sum(map(len, pieces)) == 2**24
    assert max(map(len, pieces)) <= 2**18


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: b"{}", lambda body: body + b"x"])
def test_a_damaged_body_is_refused(encoding: str, damage: object) -> None:
    """A body that is cut off, not compressed, or has something behind it is an error."""
    with pytest.raises(InvalidRequest, match=encoding):
        sent(encoding, damage(ENCODE[encoding](b"[1]")))  # type: ignore[operator]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "gzip;q=1"])
def test_another_encoding_is_refused(encoding: str) -> None:
    """Another encoding, and several, are refused with those that are supported."""
    with pytest.raises(UnsupportedMediaType) as refused:
        sent(encoding, zlib.compress(b"{}"))
    assert refused.value.headers == {"Accept-Encoding": "gzip, zstd"}


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("chunk_bytes", [1, 1000])
def test_a_message_tells_damage_from_another_format(encoding: str, chunk_bytes: int) -> None:
    """A body that begins as it should, but is wrong later or has bytes after its end, is damaged."""
    packed = zstd.compress(b"{}" * 99, options={zstd.CompressionParameter.checksum_flag: 1})
    body = gzip.compress(b"{}") if encoding == "gzip" else packed
    wrong_sum = body[:-5] + bytes([body[-5] ^ 1]) + body[-4:] if encoding == "gzip" else body[:-1] + b"?"
    for sent_body, words in (
        (wrong_sum, "is damaged"),
        (body + b"trailing bytes", "is damaged"),
        (b"plain text", f"is not {encoding}"),
        (body[:-1], "ends before the end"),
    ):
        chunks = [sent_body[start : start + chunk_bytes] for start in range(0, len(sent_body), chunk_bytes)]
        with pytest.raises(InvalidRequest, match=words):
            sent(encoding, *chunks)
