"""How a child process has ended, in words."""

from pathlib import Path

from service.executors.child import Child
from service.settings import Settings


def test_a_crash_is_told_with_what_it_most_likely_means(tmp_path: Path) -> None:
    """The signal by name; an abort and a kill hint at memory."""
    child = Child("tests.executors.small_helper", Settings(data_dir=tmp_path))
    child.channel.receive()
    child.channel.send({"task": "abort", "arguments": {}})
    assert child.fate() == "Its process was ended by SIGABRT, as libraries may do that get no more memory."
    child.kill()


def test_a_kill_hints_at_the_system(tmp_path: Path) -> None:
    """What was killed from outside may have been by the system."""
    child = Child("tests.executors.small_helper", Settings(data_dir=tmp_path))
    child.channel.receive()
    child.end()
    assert child.fate() == "Its process was ended by SIGKILL, as the system does when memory runs out."
    child.kill()
