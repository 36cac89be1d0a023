"""The choice of an engine, and the reason for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from service.errors import InvalidRequest
from service.training.engines.candidate import Candidate, Work
from service.training.engines.choice import GPU, MIN_STEPS, Choice, EngineChooser
from service.training.engines.compiled import eligibility
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
    """Make a candidate as preflight does."""
    spec = training(**{"epochs": LONG, **section})
    components = engine(spec, layers, data or samples()).components
    size = spec.batch_size or components.train.rows
    return Candidate(
        key=replace(components.program_key, precision=precision),
        model=components.model.to("meta"),
        loss_fn=components.loss_fn,
        spec=spec,
        batch=components.train.take(slice(0, size)).to(torch.device("meta")),
        roles=components.roles,
        on_gpu=on_gpu,
        calls=calls,
        data_bytes=sum(x.nbytes for x in components.train.inputs),
    )


def test_a_small_fit_is_compiled() -> None:
    """A small model with many steps is compiled."""
    assert EngineChooser().choose("auto", candidate()) == Choice("compiled")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: candidate(epochs=MIN_STEPS - 1), "Its 99 steps take less time than compiling them."),
        (lambda: candidate(epochs=MIN_STEPS), "Compiling takes about"),
        (
            lambda: candidate(WIDE, samples(n_train=2000)),
            "Its steps are bound by arithmetic, which compiling does not make faster.",
        ),
    ],
)
def test_trainings_that_compiling_does_not_speed_up_are_eager(
    make: Callable[[], Candidate], reason: str
) -> None:
    """Few steps, or steps of much arithmetic, are eager with a reason; on request, they are compiled."""
    choice = EngineChooser().choose("auto", make())
    assert choice.engine == "eager"
    assert choice.reason is not None
    assert choice.reason.startswith(reason)
    assert EngineChooser().choose("compiled", make()) == Choice("compiled")
    assert EngineChooser().choose("eager", make()) == Choice("eager")


def test_a_model_that_writes_into_a_trained_parameter_is_eager() -> None:
    """A program keeps what a forward pass writes into buffers, and cannot write into what it trains."""
    clamped = """
class Clamped(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.tensor(0))
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x):
        self.count += 1
        {}
        return x * self.scale
"""
    keeps, writes = (
        candidate([*NET, {"type": "class", "source": clamped.format(statement)}])
        for statement in ("pass", "self.scale.data.clamp_(0.0, 1.0)")
    )
    assert EngineChooser().choose("compiled", keeps) == Choice("compiled")
    reason = "The model uses operators that the compiled engine does not support: `copy_ into 3.scale`."
    assert EngineChooser().choose("auto", writes) == Choice("eager", reason)
    with pytest.raises(InvalidRequest):
        EngineChooser().choose("compiled", writes)


@pytest.mark.skipif(runs_jax("cuda"), reason="JAX has GPU support here")
def test_a_gpu_needs_a_plugin() -> None:
    """Without GPU support in JAX, trainings on a GPU are eager, and the reason names the package."""
    detail = "The device is a GPU, and JAX on this server has no GPU support (it needs `jax[cuda13]`)."
    assert EngineChooser().choose("auto", candidate(on_gpu=True)) == Choice("eager", detail)


# Counted on traces: a step of a model with 13 hidden units, and of one with 64 inputs and 128 hidden units.
SMALL = Work((), operators=25, nodes=31, operations=3432)
LARGER = Work((), operators=31, nodes=58, operations=1_800_000)
HUGE = Work((), operators=60, nodes=100, operations=40_000_000_000)


@pytest.mark.parametrize(
    ("work", "steps_per_epoch", "gains"),
    [(SMALL, 1, 10), (LARGER, 45, 2), (HUGE, 10, 0.5)],
    ids=["full batch", "batches", "arithmetic"],
)
def test_a_gpu_gains_where_kernels_are_short(work: Work, steps_per_epoch: int, gains: float) -> None:
    """A program is faster where kernels are short; with much arithmetic it is not."""
    ratio = GPU.eager(work, 4, steps_per_epoch) / GPU.compiled(work)
    assert gains <= ratio < 2 * gains


RECURRENT: Layers = [
    {"type": "Unflatten", "dim": 1, "unflattened_size": [3, 1]},
    {"type": "GRU", "input_size": 1, "hidden_size": 2, "batch_first": True},
    {"type": "Flatten"},
    {"type": "Linear", "in_features": 6, "out_features": 2},
]
OBJECTIONS: dict[str, tuple[Callable[[], Candidate], str, str]] = {
    "values decide on draws": (
        lambda: candidate([*NET, {"type": "RReLU"}]),
        "#/architecture",
        "Layer `3` (RReLU) draws a random number for each negative value, which the compiled engine does not "
        "support.",
    ),
    "many draws": (
        lambda: candidate([WIDE[0], {"type": "Dropout"}, WIDE[2]], samples(n_train=4000)),
        "#/architecture",
        "The model draws 19.07 MiB of random numbers in an epoch; the compiled engine accepts up to 8 MiB.",
    ),
    "draws in several parts of a validation": (
        lambda: with_validation_rows(candidate([*NET, NOISE]), 10**8),
        "#/architecture",
        "The model draws random numbers or changes its buffers in eval mode too, and the validation rows "
        "are too large to be evaluated at once, which the compiled engine does not support.",
    ),
    "precision": (
        lambda: candidate(RECURRENT, precision="bfloat16"),
        "#/precision",
        "The compiled engine computes recurrent layers in float32 only.",
    ),
    "recurrence": (
        lambda: candidate(calls=101),
        "#/architecture",
        "A forward pass calls 101 layers; the compiled engine supports up to 100 calls.",
    ),
    "operator": (
        lambda: candidate([*NET, SPECTRAL]),
        "#/architecture",
        "The model uses operators that the compiled engine does not support: `_linalg_eigh`.",
    ),
    "truncated draws": (
        lambda: candidate([*NET, {"type": "class", "source": TRUNCATED}]),
        "#/architecture",
        "The model uses operators that the compiled engine does not support: `trunc_normal_`.",
    ),
    "buffers": (
        lambda: candidate([*NET, {"type": "class", "source": DTYPES.format("x", "bfloat16")}]),
        "#/architecture",
        "The model uses operators that the compiled engine does not support: `parameters or buffers in "
        "bfloat16`.",
    ),
    "dtypes": (
        lambda: candidate([*NET, {"type": "class", "source": DTYPES.format("(x * self.scale)", "float64")}]),
        "#/architecture",
        "The model uses operators that the compiled engine does not support: `parameters of several dtypes`.",
    ),
}
TRUNCATED = """
class Noise(nn.Module):
    def forward(self, x):
        return x + nn.init.trunc_normal_(torch.empty(2))
"""
DTYPES = """
class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.register_buffer("shift", torch.ones(2, dtype=torch.{1}))

    def forward(self, x):
        return {0}.float() + self.shift.float()
"""
NOISE = {"type": "module", "inputs": ["x"], "forward": "return x + torch.randn_like(x)"}
SPECTRAL = {"type": "module", "inputs": ["x"], "forward": "return x + torch.linalg.eigvalsh(x.T @ x)"}


def with_validation_rows(made: Candidate, rows: int) -> Candidate:
    """Change the number of validation rows of a candidate."""
    return replace(made, key=replace(made.key, validation=(((rows, 3), "torch.float32"),)))


def test_random_draws_are_compiled_on_a_cpu() -> None:
    """A model that draws random numbers is compiled, and so is its validation."""
    made = with_validation_rows(candidate([*NET, {"type": "Dropout"}]), 10**8)
    assert EngineChooser().choose("compiled", made) == Choice("compiled")
    assert EngineChooser().choose("auto", candidate([*NET, NOISE])) == Choice("compiled")


@pytest.mark.parametrize("feature", OBJECTIONS)
def test_unsupported_features(feature: str) -> None:
    """`compiled` refuses an unsupported feature by name; under `auto` it is the reason for eager."""
    make, pointer, detail = OBJECTIONS[feature]
    with pytest.raises(InvalidRequest) as raised:
        EngineChooser().choose("compiled", make())
    remedied = f"{detail} Use the engine `eager` or `auto`."
    assert [(error.pointer, error.detail) for error in raised.value.errors] == [(pointer, remedied)]
    assert EngineChooser().choose("auto", make()) == Choice("eager", detail)


def test_bfloat16_on_a_gpu_is_eager() -> None:
    """Autocast has another policy on a GPU than on a CPU."""
    (error,) = eligibility.objections(candidate(precision="bfloat16", on_gpu=True))
    assert (error.pointer, error.detail) == (
        "#/precision",
        "The compiled engine computes in bfloat16 on a CPU only.",
    )


def test_all_objections_are_reported_at_once() -> None:
    """A request with several unsupported features gets an error for each."""
    layers = [{"type": "RReLU"}, *RECURRENT]
    with pytest.raises(InvalidRequest) as raised:
        EngineChooser().choose("compiled", candidate(layers, precision="bfloat16"))
    assert {error.pointer for error in raised.value.errors} == {*("#/architecture", "#/precision")}


def test_data_that_are_gathered_batch_by_batch_are_eager() -> None:
    """Data that a worker does not hold in memory are not compiled."""
    chooser = EngineChooser(in_memory_bytes=2**20)
    large = replace(candidate(), data_bytes=3 * 2**20)
    with pytest.raises(InvalidRequest, match="The request has 1 error"):
        chooser.choose("compiled", large)
    reason = "The inputs take 3 MiB; the compiled engine accepts up to 1 MiB."
    assert chooser.choose("auto", large) == Choice("eager", reason)
