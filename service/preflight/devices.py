"""Where a job runs: decided once, at submission, from the request and the workers there are.

The same request against the same workers gives the same choice; a busy device means waiting.
"""

from collections.abc import Sequence

from service.errors import FieldError
from service.specs.job import Placement

# Below this many multiply-adds a step, launching kernels takes longer than a CPU's arithmetic.
GPU_WORTH_OPERATIONS = 10_000_000


def check_placement(placement: Placement, devices: Sequence[str]) -> list[FieldError]:
    """What was asked for explicitly and can't be had.

    Args:
        devices: those of the live workers: `cpu`, `cuda:0`, …
    """
    errors = []
    gpus = [device for device in devices if device.startswith("cuda")]
    if placement.device == "cuda" and not gpus:
        errors.append(FieldError("#/device", "No GPU worker is running: ask for `cpu` or `auto`."))
    elif placement.device.startswith("cuda:") and placement.device not in gpus:
        there = f"there are {', '.join(gpus)}" if gpus else "there is no GPU"
        errors.append(FieldError("#/device", f"No worker has `{placement.device}`: {there}."))
    return errors


def choose_device(placement: Placement, devices: Sequence[str], operations_per_step: int) -> str:
    """The queue a job belongs in: `cpu`, `cuda` (any GPU) or `cuda:N`."""
    if placement.device != "auto":
        return placement.device
    has_gpu = any(device.startswith("cuda") for device in devices)
    return "cuda" if has_gpu and operations_per_step >= GPU_WORTH_OPERATIONS else "cpu"


def is_served(device: str, devices: Sequence[str]) -> bool:
    """Whether a live worker takes jobs of a queue.

    Args:
        device: the queue: `cpu`, `cuda` or `cuda:N`.
        devices: those of the live workers.
    """
    return any(device in (own, own.split(":")[0]) for own in devices)
