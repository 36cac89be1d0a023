"""The end of child processes and its description."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.processes.child import KILL_SECONDS
from service.processes.spawn import Spawner
from service.settings import Settings
from tests.support.server import until
from tests.support.small_helper import MODULE, REQUESTS, Abort

# Time for which a tracer holds a process: its parent can't reap the process before the tracer has.
HELD_SECONDS = 20 * KILL_SECONDS
TRACE = (
    "import ctypes, sys, time; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0), flush=True); "
    f"time.sleep({HELD_SECONDS})"
)


def test_the_description_of_a_crash_names_its_likely_cause(tmp_path: Path) -> None:
    """The description of an abort names the signal and suggests a lack of memory."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    child.channel.send(REQUESTS.dump(Abort()))
    until(lambda: child.has_ended)
    assert (
        child.describe_exit()
        == "Its process was killed by SIGABRT, which some libraries raise when they can't allocate memory."
    )
    child.kill()


def test_the_description_of_a_kill_names_its_likely_cause(tmp_path: Path) -> None:
    """The description of SIGKILL suggests that the system ran out of memory."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    child.end()
    until(lambda: child.has_ended)
    assert (
        child.describe_exit()
        == "Its process was killed by SIGKILL, which the system sends when memory runs out."
    )
    child.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system has no real-time signals")
def test_a_signal_without_a_name_is_reported_by_its_number(tmp_path: Path) -> None:
    """The description of a process that was killed by a real-time signal has the number of the signal."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    assert child.pid is not None
    os.kill(child.pid, 40)
    until(lambda: child.has_ended)
    assert child.describe_exit() == "Its process was killed by signal 40."
    child.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="traces a process as Linux does")
def test_killing_does_not_wait_for_a_process_that_can_not_end(tmp_path: Path) -> None:
    """A process that the kernel does not release is left behind, and reaped later."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    with subprocess.Popen([sys.executable, "-c", TRACE, str(child.pid)], stdout=subprocess.PIPE) as tracer:
        try:
            assert tracer.stdout is not None
            if tracer.stdout.readline() != b"0\n":
                pytest.skip("this system does not allow tracing")
            begin = time.monotonic()
            child.kill()
            assert time.monotonic() - begin < HELD_SECONDS / 2
            assert not child.has_ended
        finally:
            tracer.kill()
            child.kill()
    until(lambda: child.has_ended)
