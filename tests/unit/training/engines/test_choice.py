"""Which engine a training gets, and why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.training.engines.candidate import Candidate, Work
from service.training.engines.choice import FEWEST_STEPS, GPU, Choice, EngineChooser
from service.training.engines.optional import runs_jax
from tests.support.toys import NET, Layers, ToyData, engine, samples, training

LONG = 3000
WIDE: Layers = [{"type": "Linear", "in_features": 3, "out_features": 5000}, *NET[1:2]]
WIDE += [{"type": "Linear", "in_features": 5000, "out_features": 2}]


def candidate(
    layers: Layers = NET,
    data: ToyData | None = None,
    precision: str = "float32",
    calls: int = 3,
    on_gpu: bool = False,
    **section: Any,
) -> Candidate:
    """A training as the check of a request sees it."""
    spec = training(**{"epochs": LONG, **section})
    components = engine(spec, layers, data or samples()).components
    size = spec.batch_size or components.train.rows
    return Candidate(
        key=replace(components.program_key, precision=precision),
        model=components.model.to("meta"),
        loss_fn=components.loss_fn,
        spec=spec,
        inputs=[x[:size].to("meta") for x in components.train.inputs],
        targets=components.train.targets[:size].to("meta"),
        task=components.task,
        on_gpu=on_gpu,
        calls=calls,
        data_bytes=sum(x.nbytes for x in components.train.inputs),
    )


def test_a_small_fit_is_compiled() -> None:
    """A small model and many steps: compiling is worth it."""
    assert EngineChooser().choose("auto", candidate()) == Choice("compiled")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: candidate(epochs=FEWEST_STEPS - 1), "Its 99 steps end before a compiler would."),
        (lambda: candidate(epochs=FEWEST_STEPS), "Compiling takes about"),
        (
            lambda: candidate(WIDE, samples(n_train=2000)),
            "Its steps are bound by arithmetic, which compiling doesn't shorten.",
        ),
    ],
)
def test_what_compiling_does_not_shorten_is_eager(make: Callable[[], Candidate], reason: str) -> None:
    """Few steps, or steps of much arithmetic, stay eager, with the reason; asked for, they are compiled."""
    choice = EngineChooser().choose("auto", make())
    assert choice.engine == "eager"
    assert choice.reason is not None
    assert choice.reason.startswith(reason)
    assert EngineChooser().choose("compiled", make()) == Choice("compiled")
    assert EngineChooser().choose("eager", make()) == Choice("eager")


@pytest.mark.skipif(runs_jax("cuda"), reason="JAX has its plugin for GPUs here")
def test_a_gpu_needs_a_plugin() -> None:
    """Where JAX has no GPU, what would be compiled on one is eager, and says what to install."""
    detail = "JAX has no GPU here (`jax[cuda13]`), and the device is one."
    assert EngineChooser().choose("auto", candidate(on_gpu=True)) == Choice("eager", detail)


# As measured by the trace: a step of the thermometer's net, and of one with 64 inputs and 128 hidden units.
SMALL = Work((), operators=25, nodes=31, operations=3432)
LARGER = Work((), operators=31, nodes=58, operations=1_800_000)
HUGE = Work((), operators=60, nodes=100, operations=40_000_000_000)


@pytest.mark.parametrize(
    ("work", "steps_per_epoch", "gains"),
    [(SMALL, 1, 10), (LARGER, 45, 2), (HUGE, 10, 0.5)],
    ids=["a step an epoch", "batches", "arithmetic"],
)
def test_a_gpu_gains_where_kernels_are_short(work: Work, steps_per_epoch: int, gains: float) -> None:
    """A program needs no start of a graph for each step; with much arithmetic it gains nothing."""
    ratio = GPU.eager(work, 4, steps_per_epoch) / GPU.compiled(work)
    assert gains <= ratio < 2 * gains


OBJECTIONS: dict[str, tuple[Callable[[], Candidate], str, str]] = {
    "dropout": (
        lambda: candidate([*NET, {"type": "Dropout"}]),
        "#/architecture",
        "Layer `3` (Dropout) draws random numbers, which is not compiled.",
    ),
    "batch norm": (
        lambda: candidate([*NET, {"type": "BatchNorm1d", "num_features": 2}]),
        "#/architecture",
        "Layer `3` (BatchNorm1d) keeps running statistics, which is not compiled.",
    ),
    "optimizer": (
        lambda: candidate(optimizer="NAdam"),
        "#/training/optimizer",
        "`NAdam` is not compiled, as Adagrad, Adam, AdamW, RMSprop, SGD are.",
    ),
    "scheduler": (
        lambda: candidate(scheduler="ReduceLROnPlateau"),
        "#/training/scheduler",
        "`ReduceLROnPlateau` decides on each epoch's loss, outside a compiled loop.",
    ),
    "metric": (
        lambda: candidate(metrics=["mean_squared_error", "explained_variance"]),
        "#/training/metrics/1",
        "`explained_variance` of a regression task, or these arguments, are not compiled.",
    ),
    "metric's arguments": (
        lambda: candidate(metrics=[{"type": "mean_squared_error", "squared": False}]),
        "#/training/metrics/0",
        "`mean_squared_error` of a regression task, or these arguments, are not compiled.",
    ),
    "precision": (
        lambda: candidate(precision="bfloat16"),
        "#/precision",
        "The compiled engine has no bfloat16.",
    ),
    "recurrence": (
        lambda: candidate(calls=101),
        "#/architecture",
        "101 calls of layers (or steps of them) take too long to compile.",
    ),
    "operator": (
        lambda: candidate([*NET, {"type": "Unflatten", "dim": 1, "unflattened_size": [1, 2]}, *CIRCULAR]),
        "#/architecture",
        "PyTorch's operator `new_empty_strided`, `as_strided`, `as_strided_scatter` is not compiled.",
    ),
}
CIRCULAR: Layers = [{"type": "CircularPad1d", "padding": [1, 0]}, {"type": "Flatten"}]
CIRCULAR += [{"type": "Linear", "in_features": 3, "out_features": 2}]


@pytest.mark.parametrize("feature", OBJECTIONS)
def test_what_the_compiled_engine_does_not_have(feature: str) -> None:
    """It is refused by name when compiled was asked for; under `auto` it is the reason why it stays eager."""
    make, pointer, detail = OBJECTIONS[feature]
    with pytest.raises(InvalidRequest) as raised:
        EngineChooser().choose("compiled", make())
    remedied = f"{detail.removesuffix('.')}: ask for `eager` or `auto`."
    assert [(error.pointer, error.detail) for error in raised.value.errors] == [(pointer, remedied)]
    assert EngineChooser().choose("auto", make()) == Choice("eager", detail)


def test_every_objection_at_once() -> None:
    """A request with several features that aren't compiled hears of all of them."""
    layers = [*NET, {"type": "Dropout"}]
    with pytest.raises(InvalidRequest) as raised:
        EngineChooser().choose("compiled", candidate(layers, precision="bfloat16", optimizer="ASGD"))
    assert {error.pointer for error in raised.value.errors} == {
        *("#/architecture", "#/precision", "#/training/optimizer")
    }


def test_data_that_are_gathered_batch_by_batch_stay_eager() -> None:
    """Data larger than what a worker keeps in memory are not a program's."""
    chooser = EngineChooser(in_memory_bytes=2**20)
    large = replace(candidate(), data_bytes=3 * 2**20)
    with pytest.raises(InvalidRequest, match="The request has 1 error"):
        chooser.choose("compiled", large)
    reason = "A program takes 1 MiB of data, and these are 3 MiB."
    assert chooser.choose("auto", large) == Choice("eager", reason)
