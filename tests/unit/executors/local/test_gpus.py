"""Which GPUs workers are started for."""

import pytest

from service.executors.local.gpus import usable_gpus, visible_gpus


@pytest.mark.parametrize(
    ("chosen", "count"),
    [("", 0), ("-1", 0), ("0", 1), ("3, 1", 2), ("GPU-8932f937,GPU-d3b5a1c0", 2), ("0,-1,1", 1)],
)
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, chosen: str, count: int) -> None:
    """`CUDA_VISIBLE_DEVICES` is read as CUDA reads it: up to the first entry that is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == count


def test_a_pytorch_without_cuda_uses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker for a GPU that its PyTorch doesn't know would die at each start."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert usable_gpus("2.13.0+cpu") == 0
    assert usable_gpus("2.13.0+cu130") == 2
