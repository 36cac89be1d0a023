"""Where a job runs: decided from the request and the workers there are."""

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
        ("cuda", ["cpu"], "No GPU worker is running: ask for `cpu` or `auto`."),
        ("cuda:2", BOTH, "No worker has `cuda:2`: there are cuda:0, cuda:1."),
        ("cuda:0", ["cpu"], "No worker has `cuda:0`: there is no GPU."),
    ],
)
def test_what_is_asked_for_must_be_there(device: str, devices: list[str], detail: str | None) -> None:
    """A device that no live worker has is refused with the ones there are."""
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
    """What is asked for is had; `auto` takes a GPU where there is one and enough to compute."""
    assert choose_device(Placement(device=device), devices, operations) == queue
