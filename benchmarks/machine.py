"""What was measured on which machine."""

import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from service import __version__


def footer(target: str) -> str:
    """The versions and the machine, and how the results are made anew."""
    return f"""Fitserve {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__},
{platform.system()} {platform.machine()}, {cpu()}, {datetime.now(UTC):%Y-%m-%d}.
Made by `make {target}`."""


def cpu() -> str:
    """The processor's name and how many cores there are."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
