"""The choice of an engine, and the reason for it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.training.engines.base import GROUP_SIZES
from service.training.engines.candidate import Candidate
from service.training.engines.choice import MAX_WAIT_SECONDS, MIN_STEPS, EngineChooser, reason_for_eager
from service.training.engines.compiled import eligibility
from service.training.engines.costs import Estimate
from service.training.engines.optional import runs_jax
from tests.support.candidates import LONG, candidate
from tests.support.toys import NET, Layers, samples

WIDE: Layers = [{"type": "Linear", "in_features": 3, "out_features": 5000}, *NET[1:2]]
WIDE += [{"type": "Linear", "in_features": 5000, "out_features": 2}]
LARGE: Layers = [{"type": "Linear", "in_features": 3, "out_features": 1000}]
LARGE += [{"type": "Linear", "in_features": 1000, "out_features": 1000}]
LARGE += [{"type": "Linear", "in_features": 1000, "out_features": 2}]


def chosen(requested: str, made: Candidate, chooser: EngineChooser | None = None) -> tuple[str, str | None]:
    """Return the engine that is chosen, and the reason for the eager one."""
    choice = (chooser or EngineChooser()).choose(requested, made)
    return choice.engine, choice.reason


COMPILED, EAGER = ("compiled", None), ("eager", None)


def test_a_small_fit_is_compiled() -> None:
    """A small model with many steps is compiled."""
    assert chosen("auto", candidate()) == COMPILED


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: candidate(epochs=MIN_STEPS - 1), "Its 19 steps take less time than compiling them."),
        (lambda: candidate(epochs=MIN_STEPS), "Compiling takes about"),
        (
            lambda: candidate(LARGE),
            "Compiling would hardly make its steps faster",
        ),
    ],
    ids=["fewest", "few", "large"],
)
def test_trainings_that_compiling_does_not_speed_up_are_eager(
    make: Callable[[], Candidate], reason: str
) -> None:
    """Few steps, or steps of many parameters, are eager with a reason; on request, they are compiled."""
    engine_name, given = chosen("auto", make())
    assert engine_name == "eager"
    assert given is not None
    assert given.startswith(reason)
    assert chosen("compiled", make()) == COMPILED
    assert chosen("eager", make()) == EAGER


STEPS, STEP_SECONDS = st.integers(MIN_STEPS, 10**6), st.floats(1e-6, 1.0)
ESTIMATES = st.builds(Estimate, STEPS, STEP_SECONDS, STEP_SECONDS, STEP_SECONDS, st.floats(0.1, 60.0))


@given(ESTIMATES, st.integers(0, 10**6))
def test_more_steps_never_turn_compiled_into_eager(estimate: Estimate, more: int) -> None:
    """A training that is compiled is also compiled with more epochs."""
    longer = replace(estimate, steps=estimate.steps + more)
    assert reason_for_eager(estimate) is not None or reason_for_eager(longer) is None


@given(ESTIMATES)
def test_a_compiled_training_never_loses_much(estimate: Estimate) -> None:
    """A compiled training pays for its program in a group, and loses little alone."""
    if reason_for_eager(estimate) is None:
        assert estimate.grouped < estimate.eager
        assert estimate.alone <= 1.1 * estimate.eager
        assert estimate.compiling <= GROUP_SIZES[-1] * estimate.steps * (estimate.eager - estimate.grouped)
        saved = max(0.0, estimate.steps * (estimate.eager - estimate.alone))
        assert estimate.compiling - saved <= MAX_WAIT_SECONDS


@given(ESTIMATES)
def test_a_large_gain_is_compiled(estimate: Estimate) -> None:
    """A training is compiled that gains more than it waits for its program."""
    gains = max(estimate.alone, estimate.grouped) < estimate.eager / 1.1
    if gains and estimate.steps * (estimate.eager - estimate.alone) > estimate.compiling:
        assert reason_for_eager(estimate) is None or estimate.compiling > 64 * estimate.steps * (
            estimate.eager - estimate.grouped
        )


def test_the_choice_says_its_estimate() -> None:
    """A choice has the estimated times of both engines, unless nothing was compared."""
    estimate = EngineChooser().choose("auto", candidate()).estimate
    assert estimate is not None
    assert estimate.steps == LONG
    assert estimate.document()["compiled_seconds"] < estimate.document()["eager_seconds"]
    assert EngineChooser().choose("eager", candidate()).estimate is None


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
    assert chosen("compiled", keeps) == COMPILED
    reason = "The model uses operators that the compiled engine does not support: `copy_ into 3.scale`."
    assert chosen("auto", writes) == ("eager", reason)
    with pytest.raises(InvalidRequest):
        EngineChooser().choose("compiled", writes)


@pytest.mark.skipif(runs_jax("cuda"), reason="JAX has GPU support here")
def test_a_gpu_needs_a_plugin() -> None:
    """Without GPU support in JAX, trainings on a GPU are eager, and the reason names the package."""
    detail = "The device is a GPU, and JAX on this server has no GPU support (it needs `jax[cuda13]`)."
    assert chosen("auto", candidate(on_gpu=True)) == ("eager", detail)


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
    assert chosen("compiled", made) == COMPILED
    assert chosen("auto", candidate([*NET, NOISE])) == COMPILED


@pytest.mark.parametrize("feature", OBJECTIONS)
def test_unsupported_features(feature: str) -> None:
    """`compiled` refuses an unsupported feature by name; under `auto` it is the reason for eager."""
    make, pointer, detail = OBJECTIONS[feature]
    with pytest.raises(InvalidRequest) as raised:
        EngineChooser().choose("compiled", make())
    remedied = f"{detail} Use the engine `eager` or `auto`."
    assert [(error.pointer, error.detail) for error in raised.value.errors] == [(pointer, remedied)]
    assert chosen("auto", make()) == ("eager", detail)


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
    assert chosen("auto", large, chooser) == ("eager", reason)
