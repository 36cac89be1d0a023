"""How many GPUs this machine has, asked of the driver: CUDA is never initialised in a service process."""

import os
from importlib.metadata import version

import pynvml
import structlog

log = structlog.get_logger()


def gpu_count() -> int:
    """How many GPUs a worker may choose from: to PyTorch they are `cuda:0` and so on."""
    count = _visible()
    if count and version("torch").endswith("+cpu"):
        log.warning("GPUs are not used: this PyTorch is built for the CPU alone", gpus=count)
        return 0
    return count


def _visible() -> int:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return sum(1 for part in chosen.split(",") if part.strip() not in {"", "-1"})
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver, no GPU
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
