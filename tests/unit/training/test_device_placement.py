"""Samples on the device and samples gathered batch by batch give the same bits."""

import dataclasses

import pytest
import torch

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.device_placement import available_bytes, place_samples
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from tests.support.outputs import one_output
from tests.support.toys import NET, VALUES, assert_same_checkpoint, assert_same_history, run, training

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]


def engine(device: torch.device, fits: bool) -> EagerEngine:
    """Make an engine for shuffled batches, whose samples fit on the device or don't."""
    architecture = read_architecture({"type": "sequential", "layers": NET})
    data = VALUES.prepared()
    components = assemble(architecture, training(batch_size=4), data, one_output(2), device, "float32")
    if not fits:
        train = place_samples(
            data.train, LOSSES["MSELoss"], device, available=lambda device: data.train.nbytes - 1
        )
        assert train.order is not None
        components = dataclasses.replace(components, train=train)
    return EagerEngine(components)


@pytest.mark.parametrize("name", DEVICES)
def test_samples_without_room_train_the_same(name: str) -> None:
    """Samples too large for the device are gathered, with the same results."""
    there = engine(torch.device(name), fits=True)
    assert there.components.train.order is None
    expected, expected_end = run(there), there.checkpoint()
    apart = engine(torch.device(name), fits=False)
    assert_same_history(run(apart), expected)
    assert_same_checkpoint(apart.checkpoint(), expected_end)


@pytest.mark.parametrize("name", DEVICES)
def test_a_training_that_gathers_resumes_within_an_epoch(name: str) -> None:
    """A training that gathers batches continues within an epoch in the same order."""
    broken = engine(torch.device(name), fits=False)
    broken.advance(broken.steps_per_epoch + 1)
    body = broken.checkpoint().to_bytes()
    expected, end = run(broken), broken.checkpoint()
    resumed = engine(torch.device(name), fits=False)
    resumed.restore(Checkpoint.from_bytes(body))
    assert_same_history(run(resumed), expected)
    assert_same_checkpoint(resumed.checkpoint(), end)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")
def test_an_order_of_rows_to_gather_stays_in_host_memory() -> None:
    """A restored order is not moved to the model's device; here the meta device takes its place."""
    broken = engine(torch.device("cpu"), fits=False)
    broken.advance(1)
    resumed = engine(torch.device("meta"), fits=False)
    resumed.restore(broken.checkpoint())
    assert resumed.advance(1) is None


def test_host_memory_is_not_limited_here() -> None:
    """On a CPU the memory for samples is unlimited."""
    assert available_bytes(torch.device("cpu")) == float("inf")
