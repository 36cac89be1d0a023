"""Measures what must not grow while a service runs: memory, open files, disk."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import psutil

from benchmarks.results import table
from tests.support.server import Service

MEGABYTE = 1e6
# Growth in an hour at which a service would have to be restarted every few days, by unit.
MAX_GROWTH = {"MB": 30.0, "files": 5.0}
# What a measurement varies by while the service is level, and as a share of it: caches of several processes.
NOISE = {"MB": 15.0, "files": 3.0}
NOISE_SHARE = 0.05


def memory_mb(processes: Sequence[psutil.Process]) -> float:
    """Return the memory that processes don't share with others, which freeing them would free."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has just been replaced
            total += process.memory_full_info().uss / MEGABYTE
    return total


def disk_mb(folder: Path) -> float:
    """Return the size of all files in a folder."""
    total = 0.0
    for path in folder.rglob("*"):
        with suppress(OSError):  # just deleted
            total += path.lstat().st_size / MEGABYTE
    return total


def file_count(folder: Path) -> int:
    """Return the number of files in a folder; the service tidies empty folders later."""
    return sum(path.is_file() for path in folder.rglob("*"))


def gauges(service: Service) -> Mapping[tuple[str, str], Callable[[], float]]:
    """Return the measurements of a service, by name and unit."""
    return {
        ("memory of the API", "MB"): lambda: memory_mb([service.process]),
        ("memory of helpers", "MB"): lambda: memory_mb(service.children("helper")),
        ("memory of workers", "MB"): lambda: memory_mb(service.children("worker")),
        ("memory of the fork server", "MB"): lambda: memory_mb(service.children("fork server")),
        ("open files of the API", "files"): lambda: float(service.process.num_fds()),
        ("files of the data folder", "files"): lambda: float(file_count(service.data_dir)),
        ("disk", "MB"): lambda: disk_mb(service.data_dir),
    }


@dataclass
class Trend:
    """Course of one measurement.

    Attributes:
        name: What was measured.
        unit: Its unit.
        values: The values, at equal intervals.
        hours: Time between the first and the last value.
    """

    name: str
    unit: str
    values: list[float]
    hours: float

    @property
    def slope(self) -> float:
        """Growth in an hour: the median of the slopes of all pairs (Theil 1950, Sen 1968)."""
        step = self.hours / (len(self.values) - 1)
        pairs = combinations(enumerate(self.values), 2)
        return statistics.median((later - earlier) / ((j - i) * step) for (i, earlier), (j, later) in pairs)

    @property
    def is_level(self) -> bool:
        """True if the growth during the measurement is noise, or too slow to matter."""
        noise = max(NOISE[self.unit], NOISE_SHARE * self.values[0])
        return self.slope <= MAX_GROWTH[self.unit] or self.slope * self.hours <= noise


def report(trends: Sequence[Trend]) -> str:
    """Format trends as a table in Markdown."""
    lines = [["", "first", "last", "largest", "growth in an hour", "verdict"]]
    for each in trends:
        cells = [
            f"{value:.0f} {each.unit}"
            for value in (each.values[0], each.values[-1], max(each.values), each.slope)
        ]
        lines.append([each.name, *cells, "level" if each.is_level else "GROWS"])
    return table(lines)
