"""The eager engine on a GPU: it never waits for one within an epoch, and comes to what a CPU comes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.cuda import make_graphed_callables

from service.specs.architecture import read_architecture
from service.training.engines.captured import Capture
from service.training.engines.eager import EagerEngine
from service.training.setup import assemble
from tests.training.toys import NET, VALUES, Layers, Samples, assert_same_history, run, samples, training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

CLASSES = samples(lambda y: y.argmax(dim=1))
NORMED: Layers = [NET[0], {"type": "LayerNorm", "normalized_shape": [5]}, {"type": "GELU"}, NET[2]]


def engine(
    device: str,
    layers: Layers = NET,
    data: Samples = VALUES,
    capture: Capture | None = None,
    precision: str = "float32",
    **section: Any,
) -> EagerEngine:
    """A training on a device."""
    spec = training(**{"epochs": 60, "batch_size": 4, **section})
    architecture = read_architecture({"type": "sequential", "layers": layers})
    parts = assemble(architecture, spec, data.prepared(), 2, torch.device(device), precision)
    return EagerEngine(parts, capture=capture)


@contextmanager
def never_waiting() -> Iterator[None]:
    """An error where something waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("capture", [None, make_graphed_callables], ids=["plain", "captured"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "section",
    [
        {},
        {"optimizer": "Adam", "scheduler": {"type": "OneCycleLR", "max_lr": 0.1}},
        {"gradient_clip_norm": 0.5, "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        {"loss": "CrossEntropyLoss", "metrics": ["accuracy", "f1_score"]},
    ],
    ids=["sgd", "schedule", "clipping", "metrics"],
)
def test_a_step_does_not_wait_for_the_gpu(
    section: dict[str, Any], precision: str, capture: Capture | None
) -> None:
    """Losses, metrics, clipping and learning rates stay where they are until the epoch ends."""
    data = CLASSES if "metrics" in section else VALUES
    trainer = engine("cuda", data=data, capture=capture, precision=precision, **section)
    trainer.advance(trainer.steps_per_epoch + 1)  # the optimizer's state is made, the passes are captured
    with never_waiting():
        assert trainer.advance(1) is None


@pytest.mark.parametrize("layers", [NET, NORMED], ids=["linear", "normed"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_gpu_comes_to_what_a_cpu_comes_to(layers: Layers, optimizer: str) -> None:
    """The same seed gives the same initial values and batches: only rounding differs."""
    section = {"optimizer": {"type": optimizer, "lr": 0.01}, "metrics": ["r2_score"]}
    ours = run(engine("cuda", layers, capture=make_graphed_callables, **section))
    theirs = run(engine("cpu", layers, **section))
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-3)


def test_a_checkpoint_of_a_gpu_goes_on_there_and_elsewhere() -> None:
    """On the GPU with the same bits, on a CPU as near as rounding allows."""
    whole = engine("cuda", layers=[*NET[:2], {"type": "Dropout", "p": 0.2}, NET[2]])
    begun = engine("cuda", layers=[*NET[:2], {"type": "Dropout", "p": 0.2}, NET[2]])
    begun.advance(begun.steps_per_epoch * 10 + 1)
    resumed = engine("cuda", layers=[*NET[:2], {"type": "Dropout", "p": 0.2}, NET[2]])
    resumed.restore(begun.checkpoint())
    run(whole)
    run(resumed)
    state = resumed.checkpoint().last.state
    for name, tensor in whole.checkpoint().last.state.items():
        assert torch.equal(tensor, state[name])

    there, here = engine("cuda"), engine("cpu")
    there.advance(1)
    here.restore(there.checkpoint())
    np.testing.assert_allclose(run(here).values, run(there).values, rtol=1e-3)


def test_two_runs_on_a_gpu_are_one() -> None:
    """The same training twice has the same bits, graphs or none."""
    runs = [run(engine("cuda", capture=make_graphed_callables, optimizer="Adam")) for _ in range(2)]
    assert_same_history(*runs)
