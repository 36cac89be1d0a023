"""How many GPUs this machine has, asked of the driver: CUDA is never initialised in a service process."""

import os
from itertools import takewhile

import pynvml
import structlog

log = structlog.get_logger()


def usable_gpus(torch_version: str) -> int:
    """How many GPUs there are for workers: to PyTorch they are `cuda:0` and so on."""
    count = visible_gpus()
    if count and torch_version.endswith("+cpu"):
        log.warning("GPUs are not used: this PyTorch is built for the CPU alone", gpus=count)
        return 0
    return count


def visible_gpus() -> int:
    """How many GPUs a process of ours sees."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        entries = (entry.strip() for entry in chosen.split(","))
        return sum(1 for _ in takewhile(lambda entry: entry not in {"", "-1"}, entries))  # as CUDA reads it
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver, no GPU
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
