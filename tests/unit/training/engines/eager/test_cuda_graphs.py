"""Steps captured as CUDA graphs give the bits of steps without graphs.

Without a GPU, a stand-in for the capture runs the captured function again at each replay.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.specs.architecture import read_architecture
from service.training.assemble import assemble
from service.training.engines.eager.cuda_graphs import Capture, CudaGraphs, Function
from service.training.engines.eager.engine import EagerEngine
from tests.support.outputs import one_output
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
    weighted,
    weights_of,
    with_gaps,
)

CLASSES = samples(lambda y: y.argmax(dim=1))
WITH_STEP_COUNT = ("ASGD", "Adadelta", "AdamW", "Adamax", "RAdam", "RMSprop", "Rprop")
EPOCHS = 120  # enough steps for a capture

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


class CountingCapture:
    """A capture that counts its calls."""

    def __init__(self, device: str) -> None:
        self.calls = 0
        self._graphs = CudaGraphs() if device == "cuda" else None

    def __call__(self, function: Function, own_pool: bool = False) -> Function:
        self.calls += 1
        return function if self._graphs is None else self._graphs(function, own_pool)

    def probe(self, function: Function) -> None:
        function() if self._graphs is None else self._graphs.probe(function)


class FailingCapture(CountingCapture):
    """A capture that fails in the probe or in the capture."""

    def __init__(self, in_probe: Exception | None = None, in_capture: Exception | None = None) -> None:
        super().__init__("cpu")
        self._in_probe, self._in_capture = in_probe, in_capture

    def __call__(self, function: Function, own_pool: bool = False) -> Function:
        if self._in_capture is not None:
            raise self._in_capture
        return super().__call__(function, own_pool)

    def probe(self, function: Function) -> None:
        function()
        if self._in_probe is not None:
            raise self._in_probe


class WaitingModel(nn.Module):
    """A model that waits for the GPU and therefore cannot be captured."""

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
    """Make an engine with or without a capture."""
    spec = training(epochs=EPOCHS, **section)
    architecture = read_architecture({"type": "sequential", "layers": layers})
    components = assemble(architecture, spec, data.prepared(), one_output(2), torch.device(device), precision)
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
        (NET, weighted(), {"batch_size": 4}, 3),
        (NET, with_gaps(weights=weights_of(16)), {"batch_size": 4, "metrics": ["r2_score"]}, 3),
        (NET, VALUES, {"batch_size": 4, "drop_last": True}, 3),
        *((NET, VALUES, {"optimizer": each, "batch_size": 4}, 3) for each in WITH_STEP_COUNT),
    ],
    ids=[
        "full batch",
        "batches",
        "one batch",
        "in order",
        "dropout and metrics",
        "bfloat16",
        "best epoch",
        "learning rate constant for many steps",
        "learning rate per epoch",
        "learning rate per step",
        "step count on the CPU",
        "momentum",
        "NAdam",
        "weights",
        "missing targets",
        "dropped batch",
        *WITH_STEP_COUNT,
    ],
)
def test_captured_steps_give_the_same_bits(
    device: str, layers: Layers, data: Any, section: dict[str, Any], captures: int
) -> None:
    """Results have equal bits; the passes are captured once, the update once per lasting learning rate."""
    section = dict(section)
    precision = section.pop("precision", "float32")
    capture = CountingCapture(device)
    plain = engine(layers, data, device, None, precision, **section)
    expected, expected_end = run(plain), plain.checkpoint()
    captured = engine(layers, data, device, capture, precision, **section)
    assert_same_history(run(captured), expected)
    assert_same_checkpoint(captured.checkpoint(), expected_end)
    assert capture.calls == captures


@pytest.mark.parametrize("device", DEVICES)
def test_captured_steps_continue_in_the_middle_of_an_epoch(device: str) -> None:
    """An interrupted and restored training with graphs ends as an uninterrupted one without."""

    def make(capture: Capture | None) -> EagerEngine:
        return engine(DROPPING, VALUES, device, capture, batch_size=4, optimizer="Adam")

    plain = make(None)
    run(plain)
    expected = plain.checkpoint()
    interrupted = make(CountingCapture(device))
    interrupted.advance(7)
    resumed = restored(interrupted.checkpoint(), lambda: make(CountingCapture(device)))
    run(resumed)
    assert_same_checkpoint(resumed.checkpoint(), expected)


def assert_trains_without(device: str, capture: CountingCapture) -> None:
    """Assert that a model that waits for the GPU trains as without a capture, uncaptured."""

    def make(capture: Capture | None) -> EagerEngine:
        components = engine(DROPPING, VALUES, device, None, batch_size=4).components
        return EagerEngine(replace(components, model=WaitingModel(components.model)), capture=capture)

    plain = make(None)
    expected, expected_end = run(plain), plain.checkpoint()
    tried = make(capture)
    assert_same_history(run(tried), expected)
    assert_same_checkpoint(tried.checkpoint(), expected_end)
    assert capture.calls == 0


@pytest.mark.parametrize(
    "capture",
    [
        FailingCapture(in_probe=RuntimeError("called a synchronizing CUDA operation")),
        FailingCapture(in_capture=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    ],
    ids=["waits", "no memory"],
)
def test_models_that_cannot_be_captured_train_without(capture: CountingCapture) -> None:
    """The probe detects it before anything is captured, and restores buffers and generator states."""
    assert_trains_without("cpu", capture)


@pytest.mark.gpu
@needs_gpu
def test_a_model_that_waits_for_the_gpu_trains_without() -> None:
    """PyTorch reports in the probe that the model waits, before a capture could fail."""
    assert_trains_without("cuda", CountingCapture("cuda"))


def test_a_failed_capture_ends_the_process() -> None:
    """A failed capture raises `SystemExit`: the job continues in another process, without graphs."""
    capture = FailingCapture(in_capture=RuntimeError("CUDA error: operation failed due to a previous error"))
    with pytest.raises(SystemExit, match="could not be captured"):
        run(engine(NET, VALUES, "cpu", capture))


def test_few_steps_are_not_captured() -> None:
    """A training of few steps is not captured, since a capture takes longer."""
    capture = CountingCapture("cpu")
    components = engine(NET, VALUES, "cpu", None).components
    run(EagerEngine(replace(components, spec=training(epochs=3)), capture=capture))
    assert capture.calls == 0
