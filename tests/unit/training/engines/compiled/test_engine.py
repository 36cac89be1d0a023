"""The compiled engine: stopping, divergence, groups and the cache of programs."""

import math
from collections.abc import Callable
from dataclasses import replace
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
from service.training.engines.compiled.plan import MAX_EPOCHS, make_plan
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from tests.contracts.test_engines import ARCHITECTURES
from tests.support.toys import (
    NET,
    SCHEDULES,
    VALUES,
    Layers,
    ToyData,
    WeightedData,
    assert_same_checkpoint,
    assert_same_history,
    engine,
    fitting,
    run,
    training,
    weighted,
    weights_of,
    with_gaps,
)

DROPPING: Layers = [*NET[:2], {"type": "Dropout", "p": 0.1}, *NET[2:]]
STOPPING = {"lr": 0.2, "type": "SGD", "momentum": 0.9}


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> ProgramCache:
    """Make a cache of programs, as a worker has one."""
    return ProgramCache()


def components(layers: Layers = NET, data: ToyData = VALUES, **section: Any) -> Components:
    """Make the components of a training."""
    return engine(training(**{"epochs": 40, **section}), layers, data).components


def assert_like_eager(
    make: Callable[[], Components], programs: ProgramCache, relative: float = 1e-4
) -> CompiledEngine:
    """Assert that history, stop reason, best epoch and generator state are the eager engine's."""
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
def test_early_stopping(batch_size: int | None, programs: ProgramCache) -> None:
    """It stops after the same epoch; its checkpoint has the same best parameters and generator state."""
    section = {"optimizer": STOPPING, "batch_size": batch_size, "epochs": 300}
    stopped = assert_like_eager(
        lambda: components(DROPPING, early_stopping={"patience": 3}, **section), programs
    )
    assert stopped.stop_reason is StopReason.EARLY_STOPPING
    assert stopped.epoch < 300


@pytest.mark.parametrize("batch_size", [None, 3])
def test_divergence(batch_size: int | None, programs: ProgramCache) -> None:
    """The first epoch with a loss that is not finite is the last, with NaN; the best parameters are kept."""
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


@pytest.mark.parametrize(
    ("loss", "batch_size"),
    [
        ("MSELoss", 4),
        ("CrossEntropyLoss", None),
        pytest.param("MSELoss", None, marks=pytest.mark.exhaustive),
        pytest.param("CrossEntropyLoss", 4, marks=pytest.mark.exhaustive),
    ],
)
def test_metrics_are_sums(loss: str, batch_size: int | None, programs: ProgramCache) -> None:
    """Train and validation metrics equal those of torchmetrics, and early stopping can monitor them."""
    layers, data = fitting(loss)
    first = METRICS[loss][0]
    stopping = {"monitor": f"validation_{first}", "patience": 20}
    section = {"metrics": METRICS[loss], "early_stopping": stopping, "batch_size": batch_size}
    assert_like_eager(lambda: components(layers, data, loss=loss, **section), programs)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("spread", [10.0, 0.0])
def test_r2_of_targets_far_from_0(spread: float, batch_size: int | None, programs: ProgramCache) -> None:
    """R² of targets with a large mean, and of equal targets, is the eager engine's."""
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


def test_binary_accuracy(programs: ProgramCache) -> None:
    """A single output is correct if output and target are both above or both not above 1/2."""
    layers, data = fitting("BCEWithLogitsLoss")
    one = ToyData(data.x_train, data.y_train[:, :1], data.x_val, data.y_val[:, :1])
    narrow = [*layers[:-1], {"type": "Linear", "in_features": 5, "out_features": 1}]
    assert_like_eager(
        lambda: components(narrow, one, loss="BCEWithLogitsLoss", metrics=["accuracy"]), programs
    )


def test_class_weights(programs: ProgramCache) -> None:
    """A loss is weighted, and trainings with different weights share a program."""
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


def test_a_parameter_without_gradient_does_not_change(programs: ProgramCache) -> None:
    """A parameter that the loss does not depend on is not decayed and has no gradient."""

    def make() -> Components:
        built = components(optimizer={"type": "Adagrad", "lr": 0.1, "weight_decay": 0.1})
        assert isinstance(built.model, torch.nn.Sequential)
        built.model[1].register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
        built.optimizer = torch.optim.Adagrad(built.model.parameters(), lr=0.1, weight_decay=0.1)
        return built

    compiled = assert_like_eager(make, programs)
    assert torch.equal(compiled.checkpoint().last.state["1.idle"], torch.ones(2))
    assert "1.idle" not in compiled.checkpoint().last.gradients


SHARING = """
class Sharing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.layers = nn.ModuleList([self.layer, self.layer])
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.layer[0].weight

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.tied(x)[:, :2]
"""


def test_shared_layers(programs: ProgramCache) -> None:
    """A layer under several names is one layer, and layers may share a parameter."""
    assert_like_eager(lambda: components([{"type": "class", "source": SHARING}], batch_size=4), programs)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_rows_of_a_larger_dataset(batch_size: int | None, programs: ProgramCache) -> None:
    """A training on some rows of a dataset that stays whole takes these rows, with their weights."""
    assert_like_eager(lambda: components(data=weighted(gathers=True), batch_size=batch_size), programs)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_repeatable_in_any_chunks(batch_size: int | None, programs: ProgramCache) -> None:
    """Repeated trainings have the same bits, whatever the number of epochs per call."""
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": batch_size}
    whole, cut = (CompiledEngine(components(**section), programs) for _ in range(2))
    assert_same_history(run(whole), run(cut, chunk=7))
    assert_same_checkpoint(whole.checkpoint(), cut.checkpoint())


RESTARTS = {"type": "CosineAnnealingWarmRestarts", "T_0": 6}
PLATEAU = {"type": "ReduceLROnPlateau", "patience": 1, "cooldown": 2, "threshold": 0.1, "factor": 0.5}


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [("Adam", RESTARTS), ("Adafactor", RESTARTS), ("NAdam", RESTARTS), ("Adam", PLATEAU)],
)
def test_resumes_bit_for_bit(optimizer: str, scheduler: dict[str, Any], programs: ProgramCache) -> None:
    """A training continued from a checkpoint file ends with the bits of an uninterrupted one."""
    section = {"optimizer": {"type": optimizer, "lr": 0.02}, "batch_size": 4, "scheduler": scheduler}
    whole, first = (CompiledEngine(components(DROPPING, **section), programs) for _ in range(2))
    history = run(whole)
    chunk = first.advance(13)
    assert chunk is not None
    second = CompiledEngine(components(DROPPING, **section), programs)
    second.restore(Checkpoint.from_bytes(first.checkpoint().to_bytes()))
    assert_same_history(HistoryChunk.join([chunk, run(second)]), history)
    assert_same_checkpoint(second.checkpoint(), whole.checkpoint())


def test_continues_in_the_middle_of_an_epoch(programs: ProgramCache) -> None:
    """A partial epoch of the eager engine is finished with its bits; then the program continues."""
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": 4, "metrics": ["r2_score"]}
    expected = run(EagerEngine(components(**section))).values
    eager = EagerEngine(components(**section))
    first = eager.advance(4)  # one epoch of three steps, and one step of the next
    assert first is not None
    body = eager.checkpoint().to_bytes()
    compiled = CompiledEngine(components(**section), programs)
    compiled.restore(Checkpoint.from_bytes(body))
    history = HistoryChunk.join([first, run(compiled)])
    np.testing.assert_allclose(history.values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(history.values[:, :2], expected[:, :2])


def test_best_and_last_are_evaluated(programs: ProgramCache) -> None:
    """`evaluate` uses the parameters of the last epoch, and those of the best one after `load_best`."""
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
def test_side_by_side(batch_size: int | None, programs: ProgramCache) -> None:
    """Each training of a group ends as it would alone, with its own seed, rate and patience; one diverges."""
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
        for index, chunk in enumerate(together.advance(9)):
            if chunk is not None:
                chunks[index].append(chunk)
    for index, section in enumerate(sections):
        alone = CompiledEngine(components(batch_size=batch_size, **section), programs)
        history = run(alone)
        joined = HistoryChunk.join(chunks[index])
        assert group[index].stop_reason is alone.stop_reason
        np.testing.assert_allclose(joined.values, history.values, rtol=1e-3)
        assert group[index].checkpoint().monitor["best_epoch"] == alone.checkpoint().monitor["best_epoch"]
    assert group[2].stop_reason is StopReason.DIVERGED
    assert math.isnan(chunks[2][-1].values[0, -1])


@pytest.mark.parametrize("batch_size", [None, 4])
def test_running_statistics_side_by_side(batch_size: int | None, programs: ProgramCache) -> None:
    """Each training of a group keeps the statistics of its last and its best epoch; one of them diverges."""
    sections = [
        {"seed": seed, "optimizer": {"type": "SGD", "lr": lr}, "early_stopping": {"patience": 4}}
        for seed, lr in enumerate((0.01, 1e20, 0.1))
    ]
    layers = ARCHITECTURES["statistics"]
    members = [Member(components(layers, batch_size=batch_size, **each), programs) for each in sections]
    together(members, programs)
    for member, section in zip(members, sections, strict=True):
        eager = EagerEngine(components(layers, batch_size=batch_size, **section))
        run(eager)
        assert (member.epoch, member.stop_reason) == (eager.epoch, eager.stop_reason)
        assert (member.best is None) == (eager.best is None)
        for one, other in ((member.checkpoint().last, eager.checkpoint().last), (member.best, eager.best)):
            if one is None or other is None:
                continue
            assert one.epoch == other.epoch
            for name, buffer in eager.components.model.named_buffers():
                found, expected = one.state[name], other.state[name]
                assert found.dtype == buffer.dtype
                if eager.stop_reason is StopReason.DIVERGED and buffer.is_floating_point():
                    continue  # huge values, of which no digit means anything
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "optimizers",
    [
        [{"type": "Adafactor", "lr": 0.05}, {"type": "Adafactor", "lr": 0.1, "d": 2.0, "beta2_decay": -0.5}],
        [{"type": "NAdam", "lr": 0.02}, {"type": "NAdam", "lr": 0.05, "betas": [0.8, 0.9], "eps": 1e-6}],
        [{"type": "Rprop"}, {"type": "Rprop", "lr": 0.02, "etas": [0.3, 1.1], "step_sizes": [1e-5, 0.1]}],
    ],
    ids=["Adafactor", "NAdam", "Rprop"],
)
def test_optimizers_side_by_side(optimizers: list[dict[str, Any]], programs: ProgramCache) -> None:
    """Each training of a group has the numbers of its own optimizer, lists of numbers included."""
    assert_members_like_eager([{"optimizer": each, "batch_size": 4} for each in optimizers], programs)


def test_plateaus_side_by_side(programs: ProgramCache) -> None:
    """Each training of a group has its own options and learning rate; the options are no part of the key."""
    options = [{"mode": "max", "patience": 5}, {"threshold_mode": "abs", "min_lr": 0.02}, {"cooldown": 0}]
    members = assert_members_like_eager(
        [{"scheduler": {**PLATEAU, **each}, "batch_size": 4} for each in options], programs
    )
    rates = {member.components.optimizer.param_groups[0]["lr"] for member in members}
    assert len(rates) == len(options)


def assert_members_like_eager(sections: list[dict[str, Any]], programs: ProgramCache) -> list[Member]:
    """Assert that each training of a group has the history of the eager engine; return the members."""
    members = [Member(components(**section), programs) for section in sections]
    for section, found in zip(sections, together(members, programs), strict=True):
        expected = run(EagerEngine(components(**section)))
        joined = HistoryChunk.join([chunk for chunk in found if chunk is not None])
        np.testing.assert_allclose(joined.values, expected.values, rtol=1e-3)
    return members


def test_each_member_draws_its_own_numbers(programs: ProgramCache) -> None:
    """Each training of a group has the order of samples and the dropout of its own seed."""
    members = [Member(components(DROPPING, batch_size=4, seed=seed), programs) for seed in range(3)]
    for seed, chunks in enumerate(together(members, programs)):
        eager = EagerEngine(components(DROPPING, batch_size=4, seed=seed))
        joined = HistoryChunk.join([chunk for chunk in chunks if chunk is not None])
        np.testing.assert_allclose(joined.values, run(eager).values, rtol=1e-3)
        assert torch.equal(members[seed].checkpoint().rng["cpu"], eager.checkpoint().rng["cpu"])


def test_sampling_in_an_evaluation_continues_the_generator(programs: ProgramCache) -> None:
    """An evaluation after training draws the numbers of the eager engine."""
    noise = {"type": "module", "inputs": ["x"], "forward": "return x + torch.randn_like(x)"}
    section: dict[str, Any] = {"batch_size": 4, "epochs": 2}
    losses = []
    for make in (EagerEngine, lambda each: CompiledEngine(each, programs)):
        trainer = make(components([*NET, noise], **section))
        run(trainer)
        assert trainer.components.validation is not None
        losses.append(trainer.evaluate(trainer.components.validation).loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_call_has_room_for_bounded_draws() -> None:
    """A call trains as many epochs as 1 MiB of random numbers suffice for, and at least one."""
    wide: Layers = [{**NET[0], "out_features": 5000}, {"type": "Dropout"}, {**NET[2], "in_features": 5000}]
    assert make_plan(components(wide)).capacity == 2**20 // (11 * 5000)
    assert make_plan(components()).capacity == MAX_EPOCHS


@pytest.mark.parametrize(
    "data", [weighted(), with_gaps(), with_gaps(weights=weights_of(16))], ids=["weights", "gaps", "both"]
)
def test_weighted_rows_side_by_side(data: WeightedData, programs: ProgramCache) -> None:
    """Each training of a group has the weights of its own rows and its own missing targets."""
    weights = None if data.weights is None else weights_of(16, low=1.0)
    other = replace(data, weights=weights, y_train=data.y_train.flip(0))
    section = {"batch_size": 4, "metrics": ["mean_squared_error"]}
    members = [Member(components(NET, each, **section), programs) for each in (data, other)]
    chunks = together(members, programs)
    for each, found in zip((data, other), chunks, strict=True):
        expected = run(EagerEngine(components(NET, each, **section)))
        joined = HistoryChunk.join([chunk for chunk in found if chunk is not None])
        np.testing.assert_allclose(joined.values, expected.values, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_all_weights_of_a_batch_are_zero(batch_size: int | None, programs: ProgramCache) -> None:
    """Where all weights are 0, the loss is 0, as in the eager engine, and training goes on."""
    data = replace(weighted(), weights=torch.zeros(16))
    assert_like_eager(lambda: components(NET, data, batch_size=batch_size, epochs=3), programs)


def together(
    members: list[Member], programs: ProgramCache, epochs: int = 40
) -> list[list[HistoryChunk | None]]:
    """Train members side by side in a program of a worker's size; return the chunks of each."""
    group = Group(members, programs, GROUP_SIZES[0])
    chunks = []
    while group.stop_reason is None and group.epoch < epochs:
        chunks.append(group.advance(epochs - group.epoch))
    return [*map(list, zip(*chunks, strict=True))]


@pytest.mark.parametrize(("architecture", "batch_size"), [("deep", None), ("statistics", 4)])
def test_a_group_continues_in_a_smaller_program_with_the_same_bits(
    architecture: str, batch_size: int | None, programs: ProgramCache
) -> None:
    """Members end with equal bits, whichever others stop when, and whether a smaller program takes over."""
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": batch_size, "epochs": 30}

    def members(count: int = 20) -> list[Member]:
        return [
            Member(components(ARCHITECTURES[architecture], seed=seed, **section), programs)
            for seed in range(count)
        ]

    def trained(group: Group, stops: dict[int, range]) -> list[HistoryChunk]:
        """Train in chunks of three epochs; stop the members of `stops` after the epoch of their key."""
        chunks: list[list[HistoryChunk]] = [[] for _ in group.members]
        while group.stop_reason is None:
            for index, chunk in enumerate(group.advance(3)):
                if chunk is not None:
                    chunks[index].append(chunk)
            for index in stops.get(group.epoch, ()):
                group.stop(index, StopReason.CANCELLED)
        return [HistoryChunk.join(each) for each in chunks]

    large = GROUP_SIZES[1]
    whole = members()
    expected = trained(Group(whole, programs, large), {})
    Group(members(2), programs, GROUP_SIZES[0])  # compiles the smaller program
    compiled = programs.compiled
    for stops in ({6: range(0, 9)}, {3: range(1, 18), 12: range(18, 20)}, {9: range(5, 20), 15: range(1, 5)}):
        some = members()
        group = Group(some, programs, large)
        epochs = {index: epoch for epoch, indices in stops.items() for index in indices}
        histories = trained(group, stops)
        assert group.size == GROUP_SIZES[0]
        for index, (history, end) in enumerate(zip(histories, expected, strict=True)):
            ended = epochs.get(index, 30)
            assert history.last_epoch == some[index].epoch == ended
            np.testing.assert_array_equal(history.values, end.values[:, :ended])
            if ended == 30:
                assert_same_checkpoint(some[index].checkpoint(), whole[index].checkpoint())
            else:
                assert some[index].stop_reason is StopReason.CANCELLED
    assert programs.compiled == compiled


@pytest.mark.parametrize(
    ("architecture", "batch_size"),
    [
        ("deep", None),
        ("statistics", 4),
        pytest.param("signal", 4, marks=pytest.mark.exhaustive),
        pytest.param("deep", 4, marks=pytest.mark.exhaustive),
        pytest.param("signal", None, marks=pytest.mark.exhaustive),
    ],
)
def test_a_member_continues_alone_with_the_bits_of_its_group(
    architecture: str, batch_size: int | None, programs: ProgramCache
) -> None:
    """A member that is interrupted and restored alone, twice, ends with the bits of its group."""
    layers = ARCHITECTURES[architecture]
    section = {"optimizer": {"type": "Adam", "lr": 0.02}, "batch_size": batch_size}

    def members() -> list[Member]:
        return [Member(components(layers, seed=seed, **section), programs) for seed in range(3)]

    whole, interrupted = members(), members()
    expected = together(whole, programs)
    started = together(interrupted, programs, 13)
    for end, member, history, chunks in zip(whole, interrupted, expected, started, strict=True):
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


def test_equal_program_keys_share_a_program(jax_is_set_up: None) -> None:
    """Trainings with other hyperparameters and seeds share a program; another flag needs another one."""
    programs = ProgramCache()
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


def test_schedulers_share_a_program(jax_is_set_up: None) -> None:
    """The key distinguishes schedulers by whether they step per epoch or per step."""
    step, exponential, cyclic = (
        components(scheduler={"type": name, **SCHEDULES[name]}, batch_size=4)
        for name in ("StepLR", "ExponentialLR", "OneCycleLR")
    )
    assert step.program_key == exponential.program_key != cyclic.program_key
    plateau = components(scheduler=PLATEAU, batch_size=4)
    assert plateau.program_key not in (step.program_key, cyclic.program_key)


def test_the_cache_is_bounded(jax_is_set_up: None) -> None:
    """A full cache evicts the least recently used program."""
    programs = ProgramCache(capacity=2)
    trainings = [
        components(epochs=1, gradient_clip_norm=clip, batch_size=batch)
        for clip in (None, 1.0)
        for batch in (None, 4)
    ]
    for index in (0, 1, 0, 2):
        CompiledEngine(trainings[index], programs)
    assert programs.compiled == 3
    CompiledEngine(trainings[0], programs)
    assert programs.compiled == 3
    CompiledEngine(trainings[1], programs)
    assert programs.compiled == 4


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_loss_as_text_resumes_with_the_same_bits(batch_size: int | None, jax_is_set_up: None) -> None:
    """A compiled text computes what the eager engine does, and continues from a checkpoint exactly."""
    programs = ProgramCache()

    def make() -> Components:
        text = "return ((output - target) ** 2).mean(dim=1)"
        return components(loss={"type": "expression", "text": text}, batch_size=batch_size)

    assert_like_eager(make, programs)
    whole, interrupted = CompiledEngine(make(), programs), CompiledEngine(make(), programs)
    history, first = run(whole), interrupted.advance(7)
    fresh = CompiledEngine(make(), programs)
    fresh.restore(Checkpoint.from_bytes(interrupted.checkpoint().to_bytes()))
    chunks = [chunk for chunk in (first, run(fresh)) if chunk is not None]
    assert_same_history(HistoryChunk.join(chunks), history)
    assert_same_checkpoint(fresh.checkpoint(), whole.checkpoint())
    assert programs.compiled == 1
