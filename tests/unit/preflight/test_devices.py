"""The choice of a job's device from its request and the devices of live workers."""

import pytest

from service.preflight.devices import GPU_WORTH_OPERATIONS, check_placement, choose_device
from service.specs.job import Placement

BOTH = ["cpu", "cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("device", "devices", "detail"),
    [
        ("auto", ["cpu"], None),
        ("auto", [], None),
        ("cpu", BOTH, None),
        ("cuda", BOTH, None),
        ("cuda:1", BOTH, None),
        ("cuda", ["cpu"], "No GPU worker is running; request `cpu` or `auto`."),
        ("cuda:2", BOTH, "No worker has `cuda:2`; available GPUs: cuda:0, cuda:1."),
        ("cuda:0", ["cpu"], "No worker has `cuda:0`; no GPU is available."),
    ],
)
def test_a_requested_device_must_be_available(device: str, devices: list[str], detail: str | None) -> None:
    """A device that no live worker has is an error that lists the available ones."""
    errors = check_placement(Placement(device=device), devices)
    assert [(error.pointer, error.detail) for error in errors] == ([("#/device", detail)] if detail else [])


@pytest.mark.parametrize(
    ("device", "devices", "operations", "queue"),
    [
        ("auto", ["cpu"], 10**12, "cpu"),
        ("auto", BOTH, GPU_WORTH_OPERATIONS, "cuda"),
        ("auto", BOTH, GPU_WORTH_OPERATIONS - 1, "cpu"),
        ("cpu", BOTH, 10**12, "cpu"),
        ("cuda", BOTH, 1, "cuda"),
        ("cuda:1", BOTH, 1, "cuda:1"),
    ],
)
def test_choice(device: str, devices: list[str], operations: int, queue: str) -> None:
    """A requested device is used; `auto` uses a GPU if one is available and a step is large enough."""
    assert choose_device(Placement(device=device), devices, operations) == queue
