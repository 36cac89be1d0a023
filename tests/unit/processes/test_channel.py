"""The channel between processes: messages of JSON and bytes, and the end of a process."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.processes.channel import AsyncChannel, Channel, pack_header
from service.settings import Settings


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    one, other = (Channel(connection) for connection in socket.socketpair())
    yield one, other
    one.close()
    other.close()


headers = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(), max_size=4
)


@settings(deadline=None, max_examples=50)
@given(messages=st.lists(st.tuples(headers, st.binary(max_size=300)), min_size=1, max_size=5))
def test_messages_arrive_as_sent(messages: list[tuple[dict[str, Any], bytes]]) -> None:
    """Headers and bodies, including empty ones, arrive unchanged and in order."""
    one, other = (Channel(connection) for connection in socket.socketpair())
    for header, body in messages:
        one.send(header, body)
    assert [other.receive() for _ in messages] == messages
    one.close()
    other.close()


def test_a_message_without_a_body_is_one_write() -> None:
    """A sender that is frozen can't leave the receiver waiting for the rest of a message."""
    one, other = (Channel(each) for each in socket.socketpair(type=socket.SOCK_SEQPACKET))
    one.send({"event": "idle"})
    other.connection.recv(1000)  # SOCK_SEQPACKET: returns exactly one write
    assert not other.ready(0)
    one.close()
    other.close()


def test_large_bodies_arrive(pair: tuple[Channel, Channel]) -> None:
    """A body larger than the socket's buffer arrives while the other process reads."""
    one, other = pair
    body = os.urandom(5_000_000)
    sender = threading.Thread(target=one.send, args=({"task": "x"}, body))
    sender.start()
    assert other.receive() == ({"task": "x"}, body)
    sender.join()


def test_an_event_loop_sees_the_end(pair: tuple[Channel, Channel]) -> None:
    """Receiving raises EOFError if the other process had read all messages, else OSError."""
    one, other = pair

    async def talk(read: Callable[[], object]) -> None:
        channel = AsyncChannel(one, Path())
        await channel.send(pack_header({"task": "x"}, b""))
        read()
        other.close()
        await channel.receive()

    with pytest.raises(EOFError):
        asyncio.run(talk(other.receive))
    one, other = (Channel(connection) for connection in socket.socketpair())
    with pytest.raises(ConnectionResetError):
        asyncio.run(talk(lambda: None))
    one.close()


def test_ready(pair: tuple[Channel, Channel]) -> None:
    """`ready` reports a message, or the end, before it is read."""
    one, other = pair
    assert not other.ready(0)
    one.send({})
    assert other.ready(1)
    other.receive()
    assert not other.ready(0)
    one.close()
    assert other.ready(1)


def test_a_closed_peer_ends_with_eof(pair: tuple[Channel, Channel]) -> None:
    """Messages sent before the end are received; then receiving raises EOFError."""
    one, other = pair
    one.send({"last": True}, b"words")
    one.close()
    assert other.receive() == ({"last": True}, b"words")
    with pytest.raises(EOFError):
        other.receive()


def test_sending_to_a_closed_peer_fails(pair: tuple[Channel, Channel]) -> None:
    """Sending to a process that is gone raises OSError."""
    one, other = pair
    other.close()
    with pytest.raises(OSError, match="Broken pipe"):
        one.send({"event": "idle"})


CHILD = """
import sys
from socket import socket
from service.processes.channel import Channel, pack_header
channel = Channel(socket(fileno=int(sys.argv[1])))
settings = channel.receive_settings()
channel.send({"database": settings.database()})
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "import os; os.kill(os.getpid(), 9)",
        # A header without its body.
        "channel.connection.sendall(pack_header({}, b'x')); import os; os._exit(1)",
        "raise SystemExit(0)",
    ],
    ids=["killed", "between header and body", "exits"],
)
def test_a_dead_child_ends_with_eof(end: str, tmp_path: Any) -> None:
    """Receiving from a child raises EOFError after its death, whatever the cause."""
    ours, theirs = socket.socketpair()
    script = tmp_path / "child.py"
    script.write_text(CHILD.replace("{end}", end))
    with subprocess.Popen(
        [sys.executable, str(script), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ) as child:
        theirs.close()
        channel = Channel(ours)
        settings_sent = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://u:secret@h/d")
        channel.send({"settings": settings_sent.model_dump(mode="json")})
        assert channel.receive() == ({"database": "postgresql+psycopg://u:secret@h/d"}, b"")
        with pytest.raises(EOFError):
            channel.receive()
        child.wait(timeout=30)
    channel.close()


def test_settings_are_the_first_message(tmp_path: Any) -> None:
    """A child receives the settings that its parent has sent."""
    ours, theirs = socket.socketpair()
    sent = Settings(data_dir=tmp_path, workers=3)
    parent, child = Channel.to_child(ours, sent), Channel(theirs)
    assert child.receive_settings() == sent
    parent.close()
    child.close()


def test_a_child_that_is_gone_is_reported_by_receiving(tmp_path: Any) -> None:
    """Settings for a child that is gone are dropped, and receiving from it raises EOFError."""
    ours, theirs = socket.socketpair()
    theirs.close()
    parent = Channel.to_child(ours, Settings(data_dir=tmp_path))
    with pytest.raises(EOFError):
        parent.receive()
    parent.close()


def test_a_parent_that_is_gone_ends_a_child_quietly(tmp_path: Any) -> None:
    """A channel that is closed before the settings were received exits with status 0."""
    ours, theirs = socket.socketpair()
    ours.close()
    child = Channel(theirs)
    with pytest.raises(SystemExit, match="0"):
        child.receive_settings()
    child.close()
