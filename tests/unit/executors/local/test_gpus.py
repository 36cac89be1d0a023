"""The number of GPUs that workers are started for."""

import pytest

from service.executors.local.gpus import usable_gpus, visible_gpus


@pytest.mark.parametrize(
    ("chosen", "count"),
    [("", 0), ("-1", 0), ("0", 1), ("3, 1", 2), ("GPU-8932f937,GPU-d3b5a1c0", 2), ("0,-1,1", 1)],
)
def test_visible_gpus_follow_cuda_visible_devices(
    monkeypatch: pytest.MonkeyPatch, chosen: str, count: int
) -> None:
    """`CUDA_VISIBLE_DEVICES` counts up to its first invalid entry, as in CUDA."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == count


def test_a_cpu_build_of_pytorch_uses_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU worker is started that would die because PyTorch lacks CUDA."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert usable_gpus("2.13.0+cpu") == 0
    assert usable_gpus("2.13.0+cu130") == 2
