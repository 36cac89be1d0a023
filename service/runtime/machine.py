"""What the machine, or the container, lets a process have."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that processes like this one share: the machine's, or less where a control group limits it.

    Args:
        root: where `proc` and `sys` are.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (file.read_text().strip() for file in _limit_files(root) if file.is_file())
    return min([physical, *map(int, filter(str.isdecimal, limits))])


def _limit_files(root: Path) -> Iterator[Path]:
    """Where the limits of this process's control group, and of those around it, may stand.

    Within a container the group may have another path than from outside: then its root alone is found.
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
    """Let this process and its children open as many files as the system allows: each client is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
