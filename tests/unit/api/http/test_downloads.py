"""Ranges of downloads, by the rules of RFC 9110, section 14."""

import asyncio
from pathlib import Path

import httpx
import pytest

from service.api.http.conditions import Version
from service.api.http.downloads import Download
from service.api.http.responses import streamed
from service.errors import Unavailable
from service.storage.timestamp import EPOCH


def download(path: Path, text: str) -> httpx.Response:
    """Download the digits from 0 to 9 with a `Range`."""
    path.write_bytes(b"0123456789")
    transport = httpx.ASGITransport(Download(path, "text/plain", "digits.txt", Version("1", EPOCH)))

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/", headers={"Range": text})

    return asyncio.run(send())


def test_a_file_that_is_deleted_before_it_is_sent_is_sent_whole(tmp_path: Path) -> None:
    """It is open from the moment on when its answer is made."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    answer = Download(path, "text/plain", "digits.txt", Version("1", EPOCH))
    assert not path.exists()

    async def send() -> bytes:
        transport = httpx.ASGITransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/")).content

    assert asyncio.run(send()) == b"0123456789"


def test_a_file_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """Nothing is sent yet, so that the client gets a problem."""
    with pytest.raises(Unavailable, match="The answer can't be read: No such file or directory"):
        Download(tmp_path / "gone", "text/plain", "digits.txt", Version("1", EPOCH))
    with pytest.raises(Unavailable, match="The answer can't be read"):
        streamed(tmp_path / "gone", "text/plain")


@pytest.mark.parametrize(
    "text",
    [
        "bytes=1_0-2_0",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=1 - 2",
        "bytes=-+1",
        "bytes=--1",
        "bytes=a-b",
        "bytes=1-2,x",
        "bytes=1-2,0_3-4",
        "bytes=2-1",
        "bytes=",
        "bytes",
        "rows=1-2",
        f"bytes={'1' * 5000}-",
    ],
)
def test_a_malformed_range_is_ignored(tmp_path: Path, text: str) -> None:
    """A range that is not written in digits is ignored: the answer is the whole file."""
    answer = download(tmp_path / "digits", text)
    assert (answer.status_code, answer.text) == (200, "0123456789")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=1-2", "12"),
        ("BYTES=8-", "89"),
        ("bytes=-3", "789"),
        (f"bytes=7-{'9' * 30}", "789"),
        ("bytes=,1-2, \t", "12"),
    ],
)
def test_a_range_is_a_part(tmp_path: Path, text: str, part: str) -> None:
    """A range is a part of the file; its end may be beyond that of the file."""
    answer = download(tmp_path / "digits", text)
    assert (answer.status_code, answer.text) == (206, part)
