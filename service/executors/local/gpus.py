"""The number of GPUs, read from the driver, so that no service process has to initialise CUDA."""

import os
from itertools import takewhile

import pynvml
import structlog

log = structlog.get_logger()


def usable_gpus(torch_version: str) -> int:
    """Return the number of GPUs that workers can use; PyTorch numbers them from `cuda:0`.

    Args:
        torch_version: Version of PyTorch; a build for the CPU (`+cpu`) can use none.
    """
    count = visible_gpus()
    if count and torch_version.endswith("+cpu"):
        log.warning("GPUs not used: this build of PyTorch supports the CPU only", gpus=count)
        return 0
    return count


def visible_gpus() -> int:
    """Return the number of GPUs that `CUDA_VISIBLE_DEVICES` makes visible to this process."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        entries = (entry.strip() for entry in chosen.split(","))
        # Like CUDA, ignore everything from the first invalid entry on.
        return sum(1 for _ in takewhile(lambda entry: entry not in {"", "-1"}, entries))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
