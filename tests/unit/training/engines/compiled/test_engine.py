"""The compiled engine: stopping, divergence, groups, and the programs that are kept."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from service.history import HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint
from service.training.components import Components
from service.training.engines.base import GROUP_SIZES
from service.training.engines.compiled.engine import CompiledEngine, Group, Member
from service.training.engines.compiled.program_cache import Programs
from service.training.engines.eager.engine import EagerEngine
from tests.contracts.test_engines import ARCHITECTURES
from tests.support.toys import (
    NET,
    SCHEDULES,
    VALUES,
    Layers,
    ToyData,
    assert_same_checkpoint,
    assert_same_history,
    engine,
    fitting,
    training,
)

STOPPING = {"lr": 0.2, "type": "SGD", "momentum": 0.9}


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> Programs:
    """Programs as a worker keeps them."""
    return Programs()


def components(layers: Layers = NET, data: ToyData = VALUES, **section: Any) -> Components:
    """A training that is ready to run."""
    return engine(training(**{"epochs": 40, **section}), layers, data).components


def run(trainer: EagerEngine | CompiledEngine, chunk: int = 10**6) -> HistoryChunk:
    """Train to the end; the whole history."""
    chunks = []
    while trainer.stop_reason is None:
        made = trainer.advance(chunk)
        if made is not None:
            chunks.append(made)
    return HistoryChunk.join(chunks)


def assert_like_eager(
    make: Callable[[], Components], programs: Programs, relative: float = 1e-4
) -> CompiledEngine:
    """The whole training has the eager engine's history, end, best epoch and random numbers."""
    eager = EagerEngine(make())
    expected, end = run(eager), eager.checkpoint()
    compiled = CompiledEngine(make(), programs)
    history = run(compiled)
    assert history.columns == expected.columns
    assert compiled.stop_reason is eager.stop_reason
    np.testing.assert_allclose(history.values, expected.values, rtol=relative, atol=1e-6)
    mine = compiled.checkpoint()
    assert torch.equal(mine.rng["cpu"], end.rng["cpu"])
    assert mine.monitor.get("best_epoch") == end.monitor.get("best_epoch")
    assert mine.monitor.get("epochs_without_improvement") == end.monitor.get("epochs_without_improvement")
    assert (mine.best is None) == (end.best is None)
    if mine.best is not None and end.best is not None:
        assert mine.best.epoch == end.best.epoch
        for name, tensor in end.best.state.items():
            torch.testing.assert_close(mine.best.state[name], tensor, rtol=relative, atol=relative)
    return compiled


@pytest.mark.parametrize("batch_size", [None, 3])
def test_early_stopping(batch_size: int | None, programs: Programs) -> None:
    """It stops after the same epoch, with the best one's parameters, and has drawn nothing ahead."""
    section = {"optimizer": STOPPING, "batch_size": batch_size, "epochs": 300}
    stopped = assert_like_eager(lambda: components(early_stopping={"patience": 3}, **section), programs)
    assert stopped.stop_reason is StopReason.EARLY_STOPPING
    assert stopped.epoch < 300


@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_training_that_diverges(batch_size: int | None, programs: Programs) -> None:
    """The epoch whose loss is not finite is the last, with NaN; the best one's parameters stay."""
    diverged = assert_like_eager(
        lambda: components(optimizer={"type": "SGD", "lr": 50.0}, batch_size=batch_size, epochs=300),
        programs,
        relative=0.1,
    )
    assert diverged.stop_reason is StopReason.DIVERGED
    assert diverged.best is not None
    assert all(tensor.isfinite().all() for tensor in diverged.best.state.values())


METRICS: dict[str, list[str]] = {
    "MSELoss": ["r2_score", "mean_squared_error", "mean_absolute_error"],
    "CrossEntropyLoss": ["accuracy"],
}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("loss", ["MSELoss", "CrossEntropyLoss"])
def test_metrics_are_sums(loss: str, batch_size: int | None, programs: Programs) -> None:
    """Metrics of both sides are those of torchmetrics, and may decide when to stop."""
    layers, data = fitting(loss)
    first = METRICS[loss][0]
    stopping = {"monitor": f"validation_{first}", "patience": 20}
    section = {"metrics": METRICS[loss], "early_stopping": stopping, "batch_size": batch_size}
    assert_like_eager(lambda: components(layers, data, loss=loss, **section), programs)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("spread", [10.0, 0.0])
def test_r2_of_targets_far_from_0(spread: float, batch_size: int | None, programs: Programs) -> None:
    """R² of targets of a large mean, and of equal ones, is the eager engine's."""
    far = ToyData(VALUES.x_train, 1e5 + spread * VALUES.y_train, VALUES.x_val, 1e5 + spread * VALUES.y_val)
    section = {
        "metrics": ["r2_score"],
        "batch_size": batch_size,
        "epochs": 3,
        "optimizer": {**STOPPING, "lr": 1e-3},
    }
    expected = run(EagerEngine(components(data=far, **section)))
    found = run(CompiledEngine(components(data=far, **section), programs))
    np.testing.assert_allclose(found.values[3:], expected.values[3:], rtol=1e-5)
    assert (found.values[3:] == 0).all() == (spread == 0)


def test_binary_accuracy(programs: Programs) -> None:
    """A single output is right when it is on the targets' side of 1/2."""
    layers, data = fitting("BCEWithLogitsLoss")
    one = ToyData(data.x_train, data.y_train[:, :1], data.x_val, data.y_val[:, :1])
    narrow = [*layers[:-1], {"type": "Linear", "in_features": 5, "out_features": 1}]
    assert_like_eager(
        lambda: components(narrow, one, loss="BCEWithLogitsLoss", metrics=["accuracy"]), programs
    )


def test_class_weights(programs: Programs) -> None:
    """A weighted loss is weighted, and its weights are no part of the program."""
    layers, data = fitting("CrossEntropyLoss")

    def make(weight: float) -> Callable[[], Components]:
        def made() -> Components:
            built = components(layers, data, loss="CrossEntropyLoss", batch_size=4)
            built.loss_fn = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, weight]))
            return built

        return made

    assert_like_eager(make(3.0), programs)
    again = CompiledEngine(make(0.5)(), programs)
    expected = run(EagerEngine(make(0.5)()))
    np.testing.assert_allclose(run(again).values, expected.values, rtol=1e-4)


def test_a_parameter_without_gradient_stays(programs: Programs) -> None:
    """A parameter that the loss doesn't depend on is neither decayed nor given a gradient."""

    def make() -> Components:
        built = components(optimizer={"type": "Adagrad", "lr": 0.1, "weight_decay": 0.1})
        assert isinstance(built.model, torch.nn.Sequential)
        built.model[1].register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
        built.optimizer = torch.optim.Adagrad(built.model.parameters(), lr=0.1, weight_decay=0.1)
        return built

    compiled = assert_like_eager(make, programs)
    assert torch.equal(compiled.checkpoint().last.state["1.idle"], torch.ones(2))
    assert "1.idle" not in compiled.checkpoint().last.gradients


@pytest.mark.parametrize("batch_size", [None, 4])
def test_repeatable_in_any_chunks(batch_size: int | None, programs: Programs) -> None:
    """The same training gives the same bits, however its epochs are cut into calls."""
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": batch_size}
    whole, cut = (CompiledEngine(components(**section), programs) for _ in range(2))
    assert_same_history(run(whole), run(cut, chunk=7))
    assert_same_checkpoint(whole.checkpoint(), cut.checkpoint())


def test_resumes_bit_for_bit(programs: Programs) -> None:
    """A training that goes on from a checkpoint's file ends with the bits of one that never stopped."""
    restarts = {"type": "CosineAnnealingWarmRestarts", "T_0": 6}
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": 4, "scheduler": restarts}
    whole, first = (CompiledEngine(components(**section), programs) for _ in range(2))
    history = run(whole)
    chunk = first.advance(13)
    assert chunk is not None
    second = CompiledEngine(components(**section), programs)
    second.restore(Checkpoint.from_bytes(first.checkpoint().to_bytes()))
    assert_same_history(HistoryChunk.join([chunk, run(second)]), history)
    assert_same_checkpoint(second.checkpoint(), whole.checkpoint())


def test_goes_on_in_the_middle_of_an_epoch(programs: Programs) -> None:
    """An epoch that the eager engine has begun is ended as it would be there; then the program takes over."""
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": 4, "metrics": ["r2_score"]}
    expected = run(EagerEngine(components(**section))).values
    begun = EagerEngine(components(**section))
    first = begun.advance(4)  # an epoch of three steps, and one step more
    assert first is not None
    body = begun.checkpoint().to_bytes()
    compiled = CompiledEngine(components(**section), programs)
    compiled.restore(Checkpoint.from_bytes(body))
    history = HistoryChunk.join([first, run(compiled)])
    np.testing.assert_allclose(history.values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(history.values[:, :2], expected[:, :2])


def test_best_and_last_are_evaluated(programs: Programs) -> None:
    """`evaluate` takes the last epoch's parameters, and the best one's after `load_best`."""
    compiled = CompiledEngine(components(optimizer=STOPPING, early_stopping={"patience": 3}), programs)
    history = run(compiled)
    validation = compiled.components.validation
    assert validation is not None
    assert compiled.components.monitor is not None
    last = compiled.evaluate(validation).loss
    compiled.load_best()
    best = compiled.evaluate(validation).loss
    assert best == pytest.approx(compiled.components.monitor.best["validation_loss"], rel=1e-4)
    assert best < last
    assert history.last_epoch > (compiled.components.monitor.best_epoch or 0)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_side_by_side(batch_size: int | None, programs: Programs) -> None:
    """Trainings in one program end as each would alone: own seeds, rates, patience; one diverges."""
    stopping = {"patience": 4}
    sections = [
        {"seed": seed, "optimizer": {**STOPPING, "lr": lr}, "early_stopping": stopping}
        for seed, lr in enumerate((0.02, 0.1, 1e20, 0.2))
    ]
    assembled = [components(batch_size=batch_size, **section) for section in sections]
    group = [Member(each, programs) for each in assembled]
    together = Group(group, programs)
    chunks: list[list[HistoryChunk]] = [[] for _ in group]
    while any(member.stop_reason is None for member in group):
        for place, chunk in enumerate(together.advance(9)):
            if chunk is not None:
                chunks[place].append(chunk)
    for place, section in enumerate(sections):
        alone = CompiledEngine(components(batch_size=batch_size, **section), programs)
        history = run(alone)
        joined = HistoryChunk.join(chunks[place])
        assert group[place].stop_reason is alone.stop_reason
        np.testing.assert_allclose(joined.values, history.values, rtol=1e-3)
        assert group[place].checkpoint().monitor["best_epoch"] == alone.checkpoint().monitor["best_epoch"]
    assert group[2].stop_reason is StopReason.DIVERGED
    assert math.isnan(chunks[2][-1].values[0, -1])


def together(members: list[Member], programs: Programs, epochs: int = 40) -> list[list[HistoryChunk | None]]:
    """What each of some trainings makes of so many epochs in a program as a worker runs groups in."""
    group = Group(members, programs, GROUP_SIZES[0])
    chunks = []
    while group.stop_reason is None and group.epoch < epochs:
        chunks.append(group.advance(epochs - group.epoch))
    return [*map(list, zip(*chunks, strict=True))]


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("architecture", ["deep", "signal"])
def test_a_member_goes_on_alone_with_the_bits_it_had_in_its_group(
    architecture: str, batch_size: int | None, programs: Programs
) -> None:
    """Broken off, written and taken up by itself, once and again, it ends as if it had stayed."""
    layers = ARCHITECTURES[architecture]
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": batch_size}

    def members() -> list[Member]:
        return [Member(components(layers, seed=seed, **section), programs) for seed in range(3)]

    whole, broken = members(), members()
    expected = together(whole, programs)
    begun = together(broken, programs, 13)
    for end, member, history, chunks in zip(whole, broken, expected, begun, strict=True):
        trainer: Member = member
        for _ in range(2):
            following = CompiledEngine(
                components(layers, seed=member.components.spec.seed, **section), programs
            )
            following.restore(Checkpoint.from_bytes(trainer.checkpoint().to_bytes()))
            chunks.append(following.advance(9))
            trainer = following
        chunks.append(run(following))
        joined = HistoryChunk.join([chunk for chunk in chunks if chunk is not None])
        assert_same_history(joined, HistoryChunk.join([chunk for chunk in history if chunk is not None]))
        assert_same_checkpoint(following.checkpoint(), end.checkpoint())


def test_a_second_training_of_the_kind_compiles_nothing(jax_is_set_up: None) -> None:
    """Other numbers, another seed, other data: it is the same program; another flag is another one."""
    programs = Programs()
    first = components(optimizer={"type": "SGD", "lr": 0.1, "momentum": 0.9}, seed=1)
    other = components(optimizer={"type": "SGD", "lr": 0.2, "momentum": 0.5, "weight_decay": 0.1}, seed=2)
    flagged = components(optimizer={"type": "SGD", "lr": 0.2, "momentum": 0.5, "nesterov": True})
    assert first.program_key == other.program_key != flagged.program_key
    CompiledEngine(first, programs)
    assert programs.compiled == 1
    CompiledEngine(other, programs)
    assert programs.compiled == 1
    CompiledEngine(flagged, programs)
    assert programs.compiled == 2


def test_schedules_share_a_program(jax_is_set_up: None) -> None:
    """Their numbers come from outside: what matters is whether they change with each epoch or each step."""
    step, exponential, cyclic = (
        components(scheduler={"type": name, **SCHEDULES[name]}, batch_size=4)
        for name in ("StepLR", "ExponentialLR", "OneCycleLR")
    )
    assert step.program_key == exponential.program_key != cyclic.program_key


def test_few_programs_are_kept(jax_is_set_up: None) -> None:
    """Beyond the bound, the program that was not used for longest is forgotten."""
    programs = Programs(capacity=2)
    kinds = [
        components(epochs=1, gradient_clip_norm=clip, batch_size=batch)
        for clip in (None, 1.0)
        for batch in (None, 4)
    ]
    for kind in (0, 1, 0, 2):
        CompiledEngine(kinds[kind], programs)
    assert programs.compiled == 3
    CompiledEngine(kinds[0], programs)
    assert programs.compiled == 3
    CompiledEngine(kinds[1], programs)
    assert programs.compiled == 4
