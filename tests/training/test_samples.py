"""Samples lie on the device, or are gathered for it batch by batch: with the same bits."""

import dataclasses

import pytest
import torch

from service.specs.architecture import read_architecture
from service.training.engines.eager import EagerEngine
from service.training.losses import LOSSES
from service.training.samples import placed, room_bytes
from service.training.setup import assemble
from tests.training.toys import NET, VALUES, assert_same_checkpoint, assert_same_history, run, training

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
        ],
    ),
]


def engine(device: torch.device, has_room: bool) -> EagerEngine:
    """The engine of a training in shuffled batches, with room for its samples on the device or without."""
    architecture = read_architecture({"type": "sequential", "layers": NET})
    data = VALUES.prepared()
    parts = assemble(architecture, training(batch_size=4), data, 2, device, "float32")
    if not has_room:
        train = placed(data.train, LOSSES["MSELoss"], device, room=lambda device: data.train.nbytes - 1)
        assert train.order is not None
        parts = dataclasses.replace(parts, train=train)
    return EagerEngine(parts)


@pytest.mark.parametrize("name", DEVICES)
def test_samples_without_room_train_the_same(name: str) -> None:
    """What a device has no room for stays where it is and is gathered."""
    there = engine(torch.device(name), has_room=True)
    assert there.parts.train.order is None
    expected, expected_end = run(there), there.checkpoint()
    apart = engine(torch.device(name), has_room=False)
    assert_same_history(run(apart), expected)
    assert_same_checkpoint(apart.checkpoint(), expected_end)


def test_memory_of_the_host_takes_any_samples() -> None:
    """Whether they fit there was decided before."""
    assert room_bytes(torch.device("cpu")) == float("inf")
