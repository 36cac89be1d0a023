"""The choice of a job's device, made once, when the job is submitted.

It depends only on the request and on the devices of live workers, never on how busy they are.
"""

from collections.abc import Sequence

from service.errors import FieldError
from service.specs.job import Placement

# Below this number of multiply-adds a step, launching GPU kernels takes longer than computing on a CPU.
GPU_WORTH_OPERATIONS = 10_000_000


def check_placement(placement: Placement, devices: Sequence[str]) -> list[FieldError]:
    """Check that a live worker has the requested device.

    Args:
        placement: The request.
        devices: The devices of the live workers: `cpu`, `cuda:0`, …
    """
    errors = []
    gpus = [device for device in devices if device.startswith("cuda")]
    if placement.device == "cuda" and not gpus:
        errors.append(FieldError("#/device", "No GPU worker is running; request `cpu` or `auto`."))
    elif placement.device.startswith("cuda:") and placement.device not in gpus:
        available = f"available GPUs: {', '.join(gpus)}" if gpus else "no GPU is available"
        errors.append(FieldError("#/device", f"No worker has `{placement.device}`; {available}."))
    return errors


def choose_device(placement: Placement, devices: Sequence[str], operations_per_step: int) -> str:
    """Choose the queue of a job.

    Args:
        placement: The request.
        devices: The devices of the live workers.
        operations_per_step: Multiply-adds of one training step.

    Returns:
        `cpu`, `cuda` (any GPU) or `cuda:N`.
    """
    if placement.device != "auto":
        return placement.device
    has_gpu = any(device.startswith("cuda") for device in devices)
    return "cuda" if has_gpu and operations_per_step >= GPU_WORTH_OPERATIONS else "cpu"


def is_served(device: str, devices: Sequence[str]) -> bool:
    """Check whether a live worker serves a queue.

    Args:
        device: The queue: `cpu`, `cuda` or `cuda:N`.
        devices: The devices of the live workers.
    """
    return any(device in (own, own.split(":")[0]) for own in devices)
