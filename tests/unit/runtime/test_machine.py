"""Memory and file limits of machines and containers."""

import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.runtime.machine import memory_bytes
from service.settings import MIB, Settings

LIMITED = 512 * MIB


def write_files(root: Path, **files: str) -> Path:
    """Write files below a root folder, and return it; `__` in a name means `/`."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    """A system without control groups is supported."""
    assert memory_bytes(tmp_path) == psutil.virtual_memory().total


@pytest.mark.parametrize("membership", ["0::/", "0::/a/b", "0::/seen/from/outside"])
def test_a_limit_of_version_2_counts(tmp_path: Path, membership: str) -> None:
    """The smallest limit of the group and its parents counts; `max` means no limit."""
    root = write_files(tmp_path, proc__self__cgroup=membership)
    write_files(root / "sys/fs/cgroup/a/b", **{"memory.max": "max"})
    write_files(root / "sys/fs/cgroup", **{"memory.max": str(LIMITED)})
    assert memory_bytes(root) == LIMITED


def test_a_limit_of_version_1_counts(tmp_path: Path) -> None:
    """The limit is read from the hierarchy of the memory controller."""
    root = write_files(tmp_path, proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/a\n0::/")
    write_files(root / "sys/fs/cgroup/memory/a", **{"memory.limit_in_bytes": str(LIMITED)})
    assert memory_bytes(root) == LIMITED


def test_workers_share_the_memory() -> None:
    """By default, the memory limits of all workers add up to the memory of the machine."""
    shares = [Settings(workers=workers).worker_memory_bytes for workers in (1, 4)]
    assert shares == [memory_bytes(), memory_bytes() // 4]


def test_the_file_limit_is_raised_to_the_maximum() -> None:
    """The soft limit of open files becomes the hard limit."""
    script = (
        "import resource, service.runtime.machine as m; m.raise_file_limit(); print(*resource.getrlimit(7))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = f"ulimit -S -n 100; exec {sys.executable} -c '{script}'"
    printed = subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(hard)] * 2
