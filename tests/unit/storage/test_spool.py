"""The folders where bodies lie."""

import subprocess
import sys
from pathlib import Path

from service.storage.spool import Spool

KEEPS_A_SPOOL = """
import sys, pathlib
from service.storage.spool import Spool
spool = Spool(pathlib.Path(sys.argv[1]))
(spool.make() / "body").write_bytes(b"content")
print("made", flush=True)
sys.stdin.read()
"""


def bodies(location: Path) -> list[Path]:
    """All bodies of all processes."""
    return list(location.rglob("body"))


def test_a_folder_is_gone_when_it_is_removed(tmp_path: Path) -> None:
    """Each request has a folder of its own, which goes with all that is in it."""
    with Spool(tmp_path) as spool:
        folders = [spool.make(), spool.make()]
        for folder in folders:
            (folder / "body").write_bytes(b"content")
        spool.remove(folders[0])
        assert bodies(tmp_path) == [folders[1] / "body"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """A process that starts leaves the bodies of a live one alone, and removes those of a killed one."""
    command = [sys.executable, "-c", KEEPS_A_SPOOL, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"made\n"
        Spool(tmp_path).close()
        assert len(bodies(tmp_path)) == 1
        other.kill()
        other.wait()
        Spool(tmp_path).close()
        assert list(tmp_path.iterdir()) == []


STARTS_AGAIN_AND_AGAIN = """
import sys, pathlib
from service.storage.spool import Spool
for _ in range(300):
    with Spool(pathlib.Path(sys.argv[1])) as spool:
        (spool.make() / "body").write_bytes(b"content")
"""


def test_processes_that_start_together_leave_each_other_alone(tmp_path: Path) -> None:
    """However the starts of several processes fall together, none loses its folder to another."""
    command = [sys.executable, "-c", STARTS_AGAIN_AND_AGAIN, str(tmp_path)]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert bodies(tmp_path) == []
