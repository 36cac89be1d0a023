"""The eager engine on a GPU: its steps do not wait for the GPU, and its results are those of a CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.engines.eager.cuda_graphs import CudaGraphs
from service.training.engines.eager.engine import EagerEngine
from tests.support.outputs import one_output
from tests.support.toys import NET, VALUES, Layers, assert_same_history, run, training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

NORMED: Layers = [NET[0], {"type": "LayerNorm", "normalized_shape": [5]}, {"type": "GELU"}, NET[2]]


def engine(
    device: str,
    layers: Layers = NET,
    captures: bool = False,
    precision: str = "float32",
    **section: Any,
) -> EagerEngine:
    """Make the engine of a training on a device."""
    spec = training(**{"epochs": 60, "batch_size": 4, **section})
    architecture = read_architecture({"type": "sequential", "layers": layers})
    components = assemble(
        architecture, spec, VALUES.prepared(), one_output(2), torch.device(device), precision
    )
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
    """Losses, clipping, schedulers and regression metrics do not synchronize with the GPU."""
    trainer = engine("cuda", captures=captures, precision=precision, **section)
    trainer.advance(trainer.steps_per_epoch + 1)  # creates the optimizer's state, captures the passes
    ended = []
    CudaGraphs().probe(lambda: ended.append(trainer.advance(1)))
    assert ended == [None]


@pytest.mark.parametrize("layers", [NET, NORMED], ids=["linear", "normed"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_gpu_gives_the_results_of_a_cpu(layers: Layers, optimizer: str) -> None:
    """Equal seeds give equal initial parameters and batches; only rounding differs."""
    section = {"optimizer": {"type": optimizer, "lr": 0.01}, "metrics": ["r2_score"]}
    on_gpu = run(engine("cuda", layers, captures=True, **section))
    on_cpu = run(engine("cpu", layers, **section))
    np.testing.assert_allclose(on_gpu.values, on_cpu.values, rtol=1e-3)


def test_a_checkpoint_of_a_gpu_continues_on_any_device() -> None:
    """A checkpoint continues with the same bits on the GPU, and up to rounding on a CPU."""
    trainer = engine("cuda", optimizer="Adam")
    trainer.advance(trainer.steps_per_epoch * 10 + 1)
    checkpoint = trainer.checkpoint().to_bytes()
    expected = run(trainer)
    for device, tolerance in (("cuda", 0.0), ("cpu", 1e-3)):
        resumed = engine(device, optimizer="Adam")
        resumed.restore(Checkpoint.from_bytes(checkpoint))
        np.testing.assert_allclose(run(resumed).values, expected.values, rtol=tolerance)


def test_repeatable_on_a_gpu() -> None:
    """Two runs of a training with graphs have equal bits."""
    runs = [run(engine("cuda", captures=True, optimizer="Adam")) for _ in range(2)]
    assert_same_history(*runs)
