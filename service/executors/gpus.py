"""Which GPUs this machine has, asked of the driver: CUDA is never initialised in a service process."""

import os

import pynvml


def visible_gpus() -> list[str]:
    """The GPUs this process may use, each as a value for CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [entry for entry in (part.strip() for part in chosen.split(",")) if entry and entry != "-1"]
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no driver, no GPU
    try:
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
