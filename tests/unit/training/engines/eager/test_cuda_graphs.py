"""Steps captured as graphs train as they do without, bit for bit.

Without a GPU nothing is captured: what a graph holds is done anew by each replay.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.engines.eager.cuda_graphs import Capture, CudaGraphs, Work
from service.training.engines.eager.engine import EagerEngine
from tests.support.toys import (
    DROPPING,
    NET,
    VALUES,
    Layers,
    assert_same_checkpoint,
    assert_same_history,
    restored,
    run,
    samples,
    training,
)

CLASSES = samples(lambda y: y.argmax(dim=1))
COUNTING = ("ASGD", "Adadelta", "AdamW", "Adamax", "RAdam", "RMSprop", "Rprop")
EPOCHS = 120  # as many steps as make it worth capturing

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


class Watched:
    """A capture that tells how often it was asked for."""

    def __init__(self, device: str) -> None:
        self.calls = 0
        self._graphs = CudaGraphs() if device == "cuda" else None

    def __call__(self, work: Work, apart: bool = False) -> Work:
        self.calls += 1
        return work if self._graphs is None else self._graphs(work, apart)

    def probe(self, work: Work) -> None:
        work() if self._graphs is None else self._graphs.probe(work)


class Failing(Watched):
    """A capture that fails, at once or when it is tried."""

    def __init__(self, in_probe: Exception | None = None, in_capture: Exception | None = None) -> None:
        super().__init__("cpu")
        self._in_probe, self._in_capture = in_probe, in_capture

    def __call__(self, work: Work, apart: bool = False) -> Work:
        if self._in_capture is not None:
            raise self._in_capture
        return super().__call__(work, apart)

    def probe(self, work: Work) -> None:
        work()
        if self._in_probe is not None:
            raise self._in_probe


class Waiting(nn.Module):
    """A model that waits for the GPU: that can't be captured."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        return outputs if outputs[0, 0].item() < torch.inf else -outputs


def engine(
    layers: Layers,
    data: Any,
    device: str,
    capture: Capture | None,
    precision: str = "float32",
    **section: Any,
) -> EagerEngine:
    """An engine that captures, or doesn't."""
    spec = training(epochs=EPOCHS, **section)
    architecture = read_architecture({"type": "sequential", "layers": layers})
    components = assemble(architecture, spec, data.prepared(), 2, torch.device(device), precision)
    return EagerEngine(components, capture=capture)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("layers", "data", "section", "captures"),
    [
        (NET, VALUES, {}, 3),
        (NET, VALUES, {"batch_size": 4, "optimizer": {"type": "Adam", "lr": 0.01}}, 3),
        (NET, VALUES, {"batch_size": 100}, 3),
        (NET, VALUES, {"batch_size": 4, "gradient_clip_norm": 0.1, "shuffle": False}, 3),
        (
            DROPPING,
            CLASSES,
            {"batch_size": 4, "loss": "CrossEntropyLoss", "metrics": ["accuracy", "auroc"]},
            3,
        ),
        (NET, VALUES, {"precision": "bfloat16", "batch_size": 4}, 3),
        (NET, VALUES, {"early_stopping": {"patience": 3, "restore_best": True}, "metrics": ["r2_score"]}, 3),
        (NET, VALUES, {"scheduler": {"type": "StepLR", "step_size": EPOCHS // 3}, "batch_size": 4}, 5),
        (NET, VALUES, {"scheduler": {"type": "ExponentialLR", "gamma": 0.99}}, 2),
        (NET, VALUES, {"scheduler": {"type": "OneCycleLR", "max_lr": 0.1}, "batch_size": 4}, 2),
        (NET, VALUES, {"optimizer": "Adagrad", "batch_size": 4}, 2),
        (NET, VALUES, {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}, "batch_size": 4}, 3),
        (NET, VALUES, {"optimizer": {"type": "NAdam", "lr": 0.01}}, 3),
        *((NET, VALUES, {"optimizer": each, "batch_size": 4}, 3) for each in COUNTING),
    ],
    ids=[
        "full batch",
        "batches",
        "one batch",
        "in order",
        "dropout and metrics",
        "bfloat16",
        "best epoch",
        "a rate for many steps",
        "a rate an epoch",
        "a rate a step",
        "counting on the CPU",
        "momentum",
        "products of rates",
        *COUNTING,
    ],
)
def test_captured_steps_give_the_same_bits(
    device: str, layers: Layers, data: Any, section: dict[str, Any], captures: int
) -> None:
    """All is as with plain steps; passes are captured once, the update for each learning rate that stays."""
    section = dict(section)
    precision = section.pop("precision", "float32")
    capture = Watched(device)
    plain = engine(layers, data, device, None, precision, **section)
    expected, expected_end = run(plain), plain.checkpoint()
    captured = engine(layers, data, device, capture, precision, **section)
    assert_same_history(run(captured), expected)
    assert_same_checkpoint(captured.checkpoint(), expected_end)
    assert capture.calls == captures


@pytest.mark.parametrize("device", DEVICES)
def test_captured_steps_go_on_from_the_middle_of_an_epoch(device: str) -> None:
    """Broken off and restored, a training that captures ends as one that doesn't and was not."""

    def make(capture: Capture | None) -> EagerEngine:
        return engine(DROPPING, VALUES, device, capture, batch_size=4, optimizer="Adam")

    plain = make(None)
    run(plain)
    expected = plain.checkpoint()
    begun = make(Watched(device))
    begun.advance(7)
    resumed = restored(begun.checkpoint(), lambda: make(Watched(device)))
    run(resumed)
    assert_same_checkpoint(resumed.checkpoint(), expected)


def assert_trains_without(device: str, capture: Watched) -> None:
    """A model that waits for the GPU ends as without the capture, and nothing of it is captured."""

    def made(capture: Capture | None) -> EagerEngine:
        components = engine(DROPPING, VALUES, device, None, batch_size=4).components
        return EagerEngine(replace(components, model=Waiting(components.model)), capture=capture)

    plain = made(None)
    expected, expected_end = run(plain), plain.checkpoint()
    tried = made(capture)
    assert_same_history(run(tried), expected)
    assert_same_checkpoint(tried.checkpoint(), expected_end)
    assert capture.calls == 0


@pytest.mark.parametrize(
    "capture",
    [
        Failing(in_probe=RuntimeError("called a synchronizing CUDA operation")),
        Failing(in_capture=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    ],
    ids=["waits", "no memory"],
)
def test_what_can_not_be_captured_trains_without(capture: Watched) -> None:
    """That is found before anything is captured; buffers and random numbers stay."""
    assert_trains_without("cpu", capture)


@pytest.mark.gpu
@needs_gpu
def test_what_waits_for_a_gpu_trains_without() -> None:
    """PyTorch tells what waits, before the capture fails from it."""
    assert_trains_without("cuda", Watched("cuda"))


def test_a_failed_capture_ends_the_process() -> None:
    """PyTorch doesn't come back from one: the job goes on in another process, which captures nothing."""
    capture = Failing(in_capture=RuntimeError("CUDA error: operation failed due to a previous error"))
    with pytest.raises(SystemExit, match="could not be captured"):
        run(engine(NET, VALUES, "cpu", capture))


def test_few_steps_are_not_captured() -> None:
    """Capturing takes as long as some tens of steps: fewer aren't worth it."""
    capture = Watched("cpu")
    components = engine(NET, VALUES, "cpu", None).components
    run(EagerEngine(replace(components, spec=training(epochs=3)), capture=capture))
    assert capture.calls == 0
