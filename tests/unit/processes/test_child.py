"""How child processes end."""

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

# Whose end a tracer hasn't taken in yet, the parent can't collect.
HELD_SECONDS = 20 * KILL_SECONDS
TRACE = (
    "import ctypes, sys, time; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0), flush=True); "
    f"time.sleep({HELD_SECONDS})"
)


def test_a_crash_is_told_with_what_it_most_likely_means(tmp_path: Path) -> None:
    """The signal by name; an abort and a kill hint at memory."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    child.channel.send(REQUESTS.dump(Abort()))
    until(lambda: child.has_ended)
    assert child.fate() == "Its process was killed by SIGABRT, as libraries may do that get no more memory."
    child.kill()


def test_a_kill_hints_at_the_system(tmp_path: Path) -> None:
    """What was killed from outside may have been by the system."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    child.end()
    until(lambda: child.has_ended)
    assert child.fate() == "Its process was killed by SIGKILL, as the system does when memory runs out."
    child.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="traces a process as Linux does")
def test_a_process_that_is_held_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A process that the system doesn't let go of is left to itself, and collected later."""
    child = Spawner().start(MODULE, Settings(data_dir=tmp_path))
    child.channel.receive()
    with subprocess.Popen([sys.executable, "-c", TRACE, str(child.pid)], stdout=subprocess.PIPE) as tracer:
        try:
            assert tracer.stdout is not None
            if tracer.stdout.readline() != b"0\n":
                pytest.skip("nobody may trace here")
            begin = time.monotonic()
            child.kill()
            assert time.monotonic() - begin < HELD_SECONDS / 2
            assert not child.has_ended
        finally:
            tracer.kill()
            child.kill()
    until(lambda: child.has_ended)
