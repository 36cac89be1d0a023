"""Memory and file limits of the machine or container."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine, or the smallest limit of this process's control groups if less.

    Args:
        root: Folder that contains `proc` and `sys`.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (file.read_text().strip() for file in _limit_files(root) if file.is_file())
    return min([physical, *map(int, filter(str.isdecimal, limits))])


def _limit_files(root: Path) -> Iterator[Path]:
    """Yield the files that may hold the memory limits of this process's control group and its parents.

    Supports versions 1 and 2 of control groups. Inside a container, the path of the group may be one of the
    host, of which only the root exists: the container's own group.
    """
    memberships = root / "proc/self/cgroup"
    groups = root / "sys/fs/cgroup"
    for line in memberships.read_text().splitlines() if memberships.is_file() else ():
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers == "":
            folder, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        within = PurePosixPath(path).relative_to("/")
        for each in (within, *within.parents):
            yield folder / each / name


def raise_file_limit() -> None:
    """Raise the limit of open files to the maximum; each connection of a client needs a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_limit() -> int:
    """Return the maximum number of open files of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
