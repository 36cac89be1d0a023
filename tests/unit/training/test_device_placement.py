"""ToyData lie on the device, or are gathered for it batch by batch: with the same bits."""

import dataclasses

import pytest
import torch

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.device_placement import placed, room_bytes
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from tests.support.toys import NET, VALUES, assert_same_checkpoint, assert_same_history, run, training

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
    components = assemble(architecture, training(batch_size=4), data, 2, device, "float32")
    if not has_room:
        train = placed(data.train, LOSSES["MSELoss"], device, room=lambda device: data.train.nbytes - 1)
        assert train.order is not None
        components = dataclasses.replace(components, train=train)
    return EagerEngine(components)


@pytest.mark.parametrize("name", DEVICES)
def test_samples_without_room_train_the_same(name: str) -> None:
    """What a device has no room for stays where it is and is gathered."""
    there = engine(torch.device(name), has_room=True)
    assert there.components.train.order is None
    expected, expected_end = run(there), there.checkpoint()
    apart = engine(torch.device(name), has_room=False)
    assert_same_history(run(apart), expected)
    assert_same_checkpoint(apart.checkpoint(), expected_end)


@pytest.mark.parametrize("name", DEVICES)
def test_a_training_that_gathers_resumes_within_an_epoch(name: str) -> None:
    """The rest of an epoch's order is gathered as its beginning was."""
    broken = engine(torch.device(name), has_room=False)
    broken.advance(broken.steps_per_epoch + 1)
    body = broken.checkpoint().to_bytes()
    expected, end = run(broken), broken.checkpoint()
    resumed = engine(torch.device(name), has_room=False)
    resumed.restore(Checkpoint.from_bytes(body))
    assert_same_history(run(resumed), expected)
    assert_same_checkpoint(resumed.checkpoint(), end)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")
def test_an_order_of_rows_to_gather_stays_beside_them() -> None:
    """It is not moved to the model's device, for which the meta device stands, when it is restored either."""
    broken = engine(torch.device("cpu"), has_room=False)
    broken.advance(1)
    resumed = engine(torch.device("meta"), has_room=False)
    resumed.restore(broken.checkpoint())
    assert resumed.advance(1) is None


def test_memory_of_the_host_takes_any_samples() -> None:
    """Whether they fit there was decided before."""
    assert room_bytes(torch.device("cpu")) == float("inf")
