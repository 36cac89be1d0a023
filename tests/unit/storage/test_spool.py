"""Folders of request bodies."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import Unavailable
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
    """Return the bodies of all processes."""
    return list(location.rglob("body"))


def test_a_removed_folder_is_deleted(tmp_path: Path) -> None:
    """Each request has a folder, which is deleted with its content; closing the spool deletes the rest."""
    with Spool(tmp_path) as spool:
        folders = [spool.make(), spool.make()]
        for folder in folders:
            (folder / "body").write_bytes(b"content")
        spool.remove(folders[0])
        assert bodies(tmp_path) == [folders[1] / "body"]
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_dead_processes_are_deleted(tmp_path: Path) -> None:
    """A starting process deletes the bodies of a killed process and keeps those of a live one."""
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


STARTS_REPEATEDLY = """
import sys, pathlib
from service.storage.spool import Spool
for _ in range(300):
    with Spool(pathlib.Path(sys.argv[1])) as spool:
        (spool.make() / "body").write_bytes(b"content")
"""


def test_simultaneous_starts_do_not_conflict(tmp_path: Path) -> None:
    """No process loses its folder to others that start or stop at the same time."""
    command = [sys.executable, "-c", STARTS_REPEATEDLY, str(tmp_path)]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert bodies(tmp_path) == []


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """A body can't be received where the data folder was renamed; the sentence has the reason."""
    with Spool(tmp_path / "spool") as spool:
        (tmp_path / "spool").rename(tmp_path / "elsewhere")
        with pytest.raises(Unavailable, match=r"No such file or directory\.$"):
            spool.make()
