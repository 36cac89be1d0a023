"""A worker's end of the channel, with real processes."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.processes.channel import Channel
from service.processes.child import Child
from service.processes.spawn import Spawner
from service.settings import Settings
from service.storage.prepare import prepare
from service.storage.storage import Storage
from service.worker.messages import ORDERS, SIGNALS, Join, Order, Ready, Work
from tests.support.orphans import has_ended, orphan
from tests.support.server import until
from tests.support.small_worker import MODULE


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Child]:
    """A worker that is ready."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    with closing(child.channel):
        assert received(child.channel) == Ready()
        yield child
        child.kill()


def received(channel: Channel) -> object:
    """The next signal."""
    header, _ = channel.receive()
    return SIGNALS.load(header)


@pytest.mark.parametrize("orders", [[], [Join("w", "cpu"), Work()]], ids=["spare", "busy"])
def test_a_worker_ends_with_its_supervisor(orders: list[Order], tmp_path: Path) -> None:
    """After kill -9 of its supervisor a worker exits, as a spare and while its main thread is busy."""
    with Storage.open(Settings(data_dir=tmp_path)) as storage:
        prepare(storage)  # the busy worker looks for a job
    worker = orphan(MODULE, tmp_path, *map(ORDERS.dump, orders))
    until(lambda: has_ended(worker))


@pytest.mark.parametrize("header", [{"type": "Dance"}, {"type": "Join"}, {}])
def test_an_order_that_cannot_be_read_ends_the_worker(worker: Child, header: Mapping[str, Any]) -> None:
    """A worker that receives an unknown or malformed order exits, so that it is replaced."""
    worker.channel.send(header)
    with pytest.raises((EOFError, ConnectionError)):
        worker.channel.receive()
    assert worker.describe_exit() == "Its process exited with status 1."
