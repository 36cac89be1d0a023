"""Versions and machine of a benchmark run."""

import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from service import __version__


def footer(target: str) -> str:
    """Return the versions, the machine and the command of a benchmark run."""
    return f"""Fitserve {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__},
{platform.system()} {platform.machine()}, {cpu()}, {datetime.now(UTC):%Y-%m-%d}.
Made by `make {target}`."""


def cpu() -> str:
    """Return the number of cores and the name of the processor."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
