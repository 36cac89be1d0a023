"""Passes captured as graphs train as they do without, bit for bit.

Without a GPU, `graphed` stands in for `torch.cuda.make_graphed_callables`: it runs the passes when it
captures, and puts what they give into the same memory each time, as that does.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.datasets.prepare import Part
from service.specs.architecture import read_architecture
from service.training.engines.captured import Capture, Passes, capture_passes
from service.training.engines.eager import EagerEngine
from service.training.setup import assemble
from tests.training.toys import (
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
EPOCHS = 120  # as many steps as make it worth capturing

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = [("cpu", "graphed"), pytest.param("cuda", "torch", marks=[pytest.mark.gpu, needs_gpu])]


def graphed(passes: Passes, static: tuple[Tensor, ...], allow_unused_input: bool) -> Callable[..., Any]:
    """As `torch.cuda.make_graphed_callables`."""
    parameters = tuple(passes.parameters())

    def both() -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        with torch.enable_grad():
            loss, outputs = passes(*static)
        return loss.detach(), outputs, torch.autograd.grad(loss, parameters, allow_unused=allow_unused_input)

    for _ in range(3):
        loss, outputs, gradients = both()

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
            for mine, theirs in zip(static, given, strict=False):
                if mine.data_ptr() != theirs.data_ptr():
                    mine.copy_(theirs)
            new_loss, new_outputs, ctx.gradients = both()
            loss.copy_(new_loss)
            outputs.copy_(new_outputs)
            ctx.mark_non_differentiable(outputs)
            return loss.detach(), outputs.detach()

        @staticmethod
        def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
            for mine, theirs in zip(gradients, ctx.gradients, strict=True):
                mine.copy_(theirs)
            return (*[None] * len(static), *(gradient.detach() for gradient in gradients))

    return lambda *given: Replay.apply(*given, *parameters)


CAPTURES = {"graphed": graphed, "torch": torch.cuda.make_graphed_callables}


class Watched:
    """A capture that tells how often it was asked for."""

    def __init__(self, capture: Capture) -> None:
        self.calls = 0
        self._capture = capture

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return self._capture(*arguments, **options)


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
    parts = assemble(architecture, spec, data.prepared(), 2, torch.device(device), precision)
    return EagerEngine(parts, capture=capture)


@pytest.mark.parametrize(("device", "name"), DEVICES)
@pytest.mark.parametrize(
    ("layers", "data", "section"),
    [
        (NET, VALUES, {}),
        (NET, VALUES, {"batch_size": 4, "optimizer": {"type": "Adam", "lr": 0.01}}),
        (NET, VALUES, {"batch_size": 100}),
        (NET, VALUES, {"batch_size": 4, "gradient_clip_norm": 0.1, "shuffle": False}),
        (DROPPING, CLASSES, {"batch_size": 4, "loss": "CrossEntropyLoss", "metrics": ["accuracy", "auroc"]}),
        (NET, VALUES, {"precision": "bfloat16", "batch_size": 4}),
        (NET, VALUES, {"early_stopping": {"patience": 3, "restore_best": True}, "metrics": ["r2_score"]}),
    ],
    ids=["full batch", "batches", "one batch", "in order", "dropout and metrics", "bfloat16", "best epoch"],
)
def test_captured_passes_give_the_same_bits(
    device: str, name: str, layers: Layers, data: Any, section: dict[str, Any]
) -> None:
    """History, parameters, gradients, the best epoch and the random numbers are those of plain passes."""
    section = dict(section)
    precision = section.pop("precision", "float32")
    capture = Watched(CAPTURES[name])
    plain = engine(layers, data, device, None, precision, **section)
    expected, expected_end = run(plain), plain.checkpoint()
    captured = engine(layers, data, device, capture, precision, **section)
    assert_same_history(run(captured), expected)
    assert_same_checkpoint(captured.checkpoint(), expected_end)
    assert capture.calls == 1


@pytest.mark.parametrize(("device", "name"), DEVICES)
def test_captured_passes_go_on_from_the_middle_of_an_epoch(device: str, name: str) -> None:
    """Broken off and restored, a training that captures ends as one that doesn't and was not."""

    def make(capture: Capture | None) -> EagerEngine:
        return engine(DROPPING, VALUES, device, capture, batch_size=4)

    plain = make(None)
    run(plain)
    expected = plain.checkpoint()
    begun = make(CAPTURES[name])
    begun.advance(7)
    resumed = restored(begun.checkpoint(), lambda: make(CAPTURES[name]))
    run(resumed)
    assert_same_checkpoint(resumed.checkpoint(), expected)


def test_what_can_not_be_captured_trains_without() -> None:
    """A capture that fails in its middle leaves no trace: neither in buffers nor in random numbers."""

    def failing(passes: Passes, static: tuple[Tensor, ...], allow_unused_input: bool) -> None:
        passes(*static)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    capture = Watched(failing)
    plain = engine(DROPPING, VALUES, "cpu", None, batch_size=4)
    expected, expected_end = run(plain), plain.checkpoint()
    tried = engine(DROPPING, VALUES, "cpu", capture, batch_size=4)
    assert_same_history(run(tried), expected)
    assert_same_checkpoint(tried.checkpoint(), expected_end)
    assert capture.calls == 1


def test_few_steps_are_not_captured() -> None:
    """Capturing takes as long as some tens of steps: fewer aren't worth it."""
    capture = Watched(graphed)
    spec = training(epochs=3)
    architecture = read_architecture({"type": "sequential", "layers": NET})
    parts = assemble(architecture, spec, VALUES.prepared(), 2, torch.device("cpu"), "float32")
    run(EagerEngine(parts, capture=capture))
    assert capture.calls == 0


def test_other_errors_are_told() -> None:
    """Only what a capture itself runs into is taken for one that can't be."""

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a mistake of ours")

    passes = Passes(nn.Linear(3, 2), nn.MSELoss(), "float32")
    with pytest.raises(ValueError, match="a mistake of ours"):
        capture_passes(passes, Part((torch.zeros(1, 3),), torch.zeros(1, 2)), broken)
