"""What the machine, or the container, lets a process have."""

import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.runtime.machine import memory_bytes
from service.settings import MIB, Settings

LIMITED = 512 * MIB


def written(root: Path, **files: str) -> Path:
    """A root folder with some files; `__` stands for `/`."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    """A system that has none is no error."""
    assert memory_bytes(tmp_path) == psutil.virtual_memory().total


@pytest.mark.parametrize("membership", ["0::/", "0::/a/b", "0::/seen/from/outside"])
def test_a_limit_of_version_2_counts(tmp_path: Path, membership: str) -> None:
    """The least of the group's and its parents' limits, `max` being none; within a container, the root's."""
    root = written(tmp_path, proc__self__cgroup=membership)
    written(root / "sys/fs/cgroup/a/b", **{"memory.max": "max"})
    written(root / "sys/fs/cgroup", **{"memory.max": str(LIMITED)})
    assert memory_bytes(root) == LIMITED


def test_a_limit_of_version_1_counts(tmp_path: Path) -> None:
    """Of several hierarchies, the one of the memory."""
    root = written(tmp_path, proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/a\n0::/")
    written(root / "sys/fs/cgroup/memory/a", **{"memory.limit_in_bytes": str(LIMITED)})
    assert memory_bytes(root) == LIMITED


def test_workers_share_the_memory() -> None:
    """By default all workers together may take what there is."""
    shares = [Settings(workers=workers).worker_memory_bytes for workers in (1, 4)]
    assert shares == [memory_bytes(), memory_bytes() // 4]


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    """The soft limit becomes the hard one."""
    script = (
        "import resource, service.runtime.machine as m; m.raise_file_limit(); print(*resource.getrlimit(7))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = f"ulimit -S -n 100; exec {sys.executable} -c '{script}'"
    printed = subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(hard)] * 2
