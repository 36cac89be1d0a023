"""The eager engine on a GPU: its steps don't wait for it, and come to what a CPU comes to."""

from typing import Any

import numpy as np
import pytest
import torch

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.engines.eager.cuda_graphs import CudaGraphs
from service.training.engines.eager.engine import EagerEngine
from tests.support.toys import NET, VALUES, Layers, assert_same_history, run, training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

NORMED: Layers = [NET[0], {"type": "LayerNorm", "normalized_shape": [5]}, {"type": "GELU"}, NET[2]]


def engine(
    device: str,
    layers: Layers = NET,
    captures: bool = False,
    precision: str = "float32",
    **section: Any,
) -> EagerEngine:
    """A training on a device."""
    spec = training(**{"epochs": 60, "batch_size": 4, **section})
    architecture = read_architecture({"type": "sequential", "layers": layers})
    components = assemble(architecture, spec, VALUES.prepared(), 2, torch.device(device), precision)
    return EagerEngine(components, capture=CudaGraphs() if captures else None)


@pytest.mark.parametrize("captures", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "section",
    [
        {},
        {"optimizer": "Adam", "scheduler": {"type": "OneCycleLR", "max_lr": 0.1}},
        {"gradient_clip_norm": 0.5, "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        {"loss": "L1Loss", "metrics": ["mean_absolute_error", "r2_score"]},
    ],
    ids=["sgd", "schedule", "clipping", "metrics"],
)
def test_a_step_does_not_wait_for_the_gpu(section: dict[str, Any], precision: str, captures: bool) -> None:
    """Losses, clipping, rates and a regression's metrics wait for nothing; counting classes does."""
    trainer = engine("cuda", captures=captures, precision=precision, **section)
    trainer.advance(trainer.steps_per_epoch + 1)  # the optimizer's state is made, the passes are captured
    ended = []
    CudaGraphs().probe(lambda: ended.append(trainer.advance(1)))
    assert ended == [None]


@pytest.mark.parametrize("layers", [NET, NORMED], ids=["linear", "normed"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_gpu_comes_to_what_a_cpu_comes_to(layers: Layers, optimizer: str) -> None:
    """The same seed gives the same initial values and batches: only rounding differs."""
    section = {"optimizer": {"type": optimizer, "lr": 0.01}, "metrics": ["r2_score"]}
    ours = run(engine("cuda", layers, captures=True, **section))
    theirs = run(engine("cpu", layers, **section))
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-3)


def test_a_checkpoint_of_a_gpu_goes_on_there_and_elsewhere() -> None:
    """On the GPU with the same bits, on a CPU as near as rounding allows."""
    there = engine("cuda", optimizer="Adam")
    there.advance(there.steps_per_epoch * 10 + 1)
    begun = there.checkpoint().to_bytes()
    expected = run(there)
    for device, tolerance in (("cuda", 0.0), ("cpu", 1e-3)):
        resumed = engine(device, optimizer="Adam")
        resumed.restore(Checkpoint.from_bytes(begun))
        np.testing.assert_allclose(run(resumed).values, expected.values, rtol=tolerance)


def test_two_runs_on_a_gpu_are_one() -> None:
    """The same training twice has the same bits, graphs or none."""
    runs = [run(engine("cuda", captures=True, optimizer="Adam")) for _ in range(2)]
    assert_same_history(*runs)
