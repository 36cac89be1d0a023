"""The eager engine equals a plain PyTorch loop bit for bit."""

import itertools
import math
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim
from torch.utils._python_dispatch import TorchDispatchMode

from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.history import HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint
from service.training.engines.eager.engine import EagerEngine
from tests.support.toys import (
    DROPPING,
    NET,
    VALUES,
    Layers,
    ToyData,
    assert_equals_script,
    assert_same_checkpoint,
    assert_same_history,
    column,
    dropping,
    engine,
    fitting,
    net,
    run,
    samples,
    script,
    training,
)

SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("batch_size", "shuffle"), [(None, True), (4, True), (4, False), (11, True), (100, True), (1, True)]
)
def test_equals_the_script(batch_size: int | None, shuffle: bool, clip: float | None) -> None:
    """Full batch and batches, shuffled or not, with a short last batch, clipped or not, equal the script."""
    trainer = engine(training(optimizer=SGD, batch_size=batch_size, shuffle=shuffle, gradient_clip_norm=clip))
    sgd = partial(optim.SGD, lr=0.05, momentum=0.9)
    assert_equals_script(trainer, script(net, sgd, batch_size=batch_size, shuffle=shuffle, clip=clip))


@pytest.mark.parametrize("batch_size", [None, 3, 4])
def test_dropout_and_batch_norm_equal_the_script(batch_size: int | None) -> None:
    """Dropout masks and BatchNorm statistics are the script's; validation runs in eval mode."""
    trainer = engine(training(optimizer=SGD, batch_size=batch_size), DROPPING)
    sgd = partial(optim.SGD, lr=0.05, momentum=0.9)
    assert_equals_script(trainer, script(dropping, sgd, batch_size=batch_size))


def test_without_validation_training_is_the_same() -> None:
    """Without validation rows, the training loss is the same and the validation column is NaN."""
    spec = training(optimizer=SGD, batch_size=4)
    with_rows = run(engine(spec, DROPPING))
    alone = engine(spec, DROPPING, validates=False)
    without_rows = run(alone)
    assert column(with_rows, "train_loss") == column(without_rows, "train_loss")
    assert all(map(math.isnan, column(without_rows, "validation_loss")))
    assert alone.best is None
    assert alone.checkpoint().best is None


@pytest.mark.parametrize("bytes_at_once", [1, 50, 10**9])
def test_evaluation_in_slices_is_the_mean_over_samples(bytes_at_once: int) -> None:
    """Samples evaluated in slices have the loss and metrics of all samples, up to rounding."""
    data = samples(n_train=8, n_val=45)
    components = engine(training(epochs=1, metrics=["r2_score"]), data=data).components
    sliced = EagerEngine(components, evaluation_bytes=bytes_at_once).evaluate(
        Samples((data.x_val,), data.y_val)
    )
    outputs = components.model(data.x_val)
    assert sliced.loss == pytest.approx(nn.functional.mse_loss(outputs, data.y_val).item(), rel=1e-6)
    residual = ((outputs - data.y_val) ** 2).sum(0) / ((data.y_val - data.y_val.mean(0)) ** 2).sum(0)
    assert sliced.metrics["r2_score"] == pytest.approx((1 - residual).mean().item(), rel=1e-5)


class Mapped(ToyData):
    """Samples that are gathered batch by batch."""

    def prepared(self, validates: bool = True) -> Prepared:
        """Return samples with the order of the split's rows, which leaves the tensors as they are."""
        train, order = Samples((self.x_train,), self.y_train), torch.arange(len(self.x_train))
        validation = Samples((self.x_val,), self.y_val, torch.arange(len(self.x_val)))
        return Prepared(Samples(train.inputs, train.targets, order), validation, None, self.encoding())


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that an operator creates."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and record the size of its results."""
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            self.elements = max(self.elements, each.numel() if isinstance(each, torch.Tensor) else 0)
        return made


def test_gathered_data_are_not_copied() -> None:
    """No epoch creates a tensor as large as the data, and the history is that of data in memory."""
    data = samples(n_train=300, n_val=4)
    section = training(epochs=3, batch_size=4)
    mapped = engine(section, data=Mapped(data.x_train, data.y_train, data.x_val, data.y_val))
    with Largest() as largest:
        history = run(mapped)
    assert 0 < largest.elements <= 300  # an epoch's order
    assert mapped.components.train.inputs[0].data_ptr() == data.x_train.data_ptr()
    assert_same_history(history, run(engine(section, data=data)))


def test_targets_are_cast_for_the_loss() -> None:
    """`evaluate` casts the targets of prepared samples, so that they are evaluated like validation rows."""
    layers, data = fitting("MultiLabelMarginLoss")
    trainer = engine(training(loss="MultiLabelMarginLoss", epochs=1), layers, data)
    before = trainer.evaluate(Samples((data.x_val,), data.y_val)).loss
    assert column(run(trainer), "validation_loss") == [before]


def test_evaluation_does_not_change_the_training() -> None:
    """An evaluation changes no parameter, buffer, gradient, generator state or mode."""
    trainer = engine(training(batch_size=4), DROPPING)
    trainer.advance(3)
    before = trainer.checkpoint().to_bytes()
    first = trainer.evaluate(VALUES.prepared().train)
    assert trainer.evaluate(VALUES.prepared().train) == first
    assert trainer.checkpoint().to_bytes() == before
    assert all(module.training for module in trainer.components.model.modules())


CHUNKED = training(optimizer=SGD, batch_size=4, epochs=5, early_stopping={"patience": 4})


@cache
def uninterrupted() -> tuple[HistoryChunk, Checkpoint, StopReason | None]:
    """Run the training of `CHUNKED` in one call."""
    whole = engine(CHUNKED, DROPPING)
    return run(whole), whole.checkpoint(), whole.stop_reason


@settings(deadline=None, max_examples=10)
@given(chunks=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_chunks_never_change_a_result(chunks: list[int]) -> None:
    """History, parameters and best epoch have the same bits, whatever the sizes of chunks."""
    history, end, reason = uninterrupted()
    cut = engine(CHUNKED, DROPPING)
    pieces, sizes = list[HistoryChunk](), itertools.cycle(chunks)
    while cut.stop_reason is None:
        piece = cut.advance(next(sizes))
        pieces += [] if piece is None else [piece]
    assert cut.stop_reason is reason
    assert_same_history(HistoryChunk.join(pieces), history)
    assert_same_checkpoint(cut.checkpoint(), end)


def test_chunks_and_checkpoints_within_an_epoch() -> None:
    """Within an epoch, `advance` returns None and a checkpoint has a partial epoch; at its end, neither."""
    trainer = engine(training(batch_size=4, epochs=2))
    assert (trainer.steps_per_epoch, trainer.steps_left) == (3, 3)
    assert trainer.advance(2) is None
    assert trainer.steps_left == 1
    assert trainer.checkpoint().partial is not None
    chunk = trainer.advance(1)
    assert chunk is not None
    assert (chunk.first_epoch, chunk.last_epoch) == (1, 1)
    assert trainer.checkpoint().partial is None
    assert (trainer.epoch, trainer.steps_left) == (1, 3)


def nan_in_row(row: int) -> ToyData:
    """Make samples with a NaN in one training input."""
    data = samples()
    data.x_train[row] = math.nan
    return data


@pytest.mark.parametrize("batch_size", [None, 4])
def test_divergence_ends_with_its_epoch(batch_size: int | None) -> None:
    """The first epoch with a loss that is not finite is the last, with NaN in the history."""
    section = training(optimizer={"type": "SGD", "lr": 1e6}, batch_size=batch_size, epochs=100)
    trainer = engine(section)
    history = run(trainer)
    assert trainer.stop_reason is StopReason.DIVERGED
    assert trainer.epoch == history.last_epoch < 100
    losses = np.array([column(history, "train_loss"), column(history, "validation_loss")])
    assert np.isfinite(losses[:, :-1]).all()
    assert np.isnan(losses[:, -1]).any()


def test_no_step_follows_a_diverged_full_batch() -> None:
    """A NaN loss takes no step: parameters and optimizer do not change."""
    trainer = engine(training(optimizer=SGD), data=nan_in_row(0))
    before = [parameter.detach().clone() for parameter in trainer.components.model.parameters()]
    history = run(trainer)
    assert history.values.shape[1] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.components.model.parameters(), strict=True))
    assert not trainer.components.optimizer.state


@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_best_epoch_before_divergence_is_kept(batch_size: int | None) -> None:
    """The best epoch's parameters are kept, and finite, when later epochs diverge."""
    trainer = engine(
        training(
            optimizer={"type": "SGD", "lr": 0.05},
            scheduler={"type": "ExponentialLR", "gamma": 30.0},
            batch_size=batch_size,
            epochs=100,
        )
    )
    history = run(trainer)
    assert trainer.stop_reason is StopReason.DIVERGED
    assert trainer.best is not None
    assert trainer.best.epoch == int(np.nanargmin(column(history, "validation_loss"))) + 1
    assert all(torch.isfinite(tensor).all() for tensor in trainer.best.state.values())


@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_best_parameters_give_the_best_loss(batch_size: int | None) -> None:
    """The best parameters evaluate to exactly the loss of the best epoch."""
    section = training(optimizer={"type": "SGD", "lr": 0.4}, batch_size=batch_size, epochs=12)
    trainer = engine(section)
    history = run(trainer)
    losses = column(history, "validation_loss")
    monitor = trainer.components.monitor
    assert monitor is not None
    assert trainer.best is not None
    assert monitor.best_epoch == trainer.best.epoch == losses.index(min(losses)) + 1
    trainer.load_best()
    assert trainer.evaluate(Samples((VALUES.x_val,), VALUES.y_val)).loss == min(losses)


def test_best_gradients_of_a_full_batch_are_of_the_previous_step() -> None:
    """The best epoch's gradients are those of the step that led to its parameters."""
    trainer = engine(training(epochs=3))
    run(trainer)
    assert trainer.best is not None
    assert trainer.best.epoch == 3
    trained = script(net, partial(optim.SGD, lr=0.05), epochs=2).run()
    for name, parameter in trained.model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(trainer.best.gradients[name], parameter.grad)
        assert torch.equal(trainer.best.state[name], parameter)


def test_early_stopping_ends_the_history() -> None:
    """Training and history end after `patience` epochs without improvement."""
    data = samples()
    stuck = engine(
        training(optimizer={"type": "SGD", "lr": 0.0}, epochs=50, early_stopping={"patience": 3}), data=data
    )
    history = run(stuck)
    assert stuck.stop_reason is StopReason.EARLY_STOPPING
    assert history.last_epoch == stuck.epoch == 4
    assert stuck.best is not None
    assert stuck.best.epoch == 1


def test_tied_parameters_train_as_one() -> None:
    """A parameter that two layers share is one parameter, as in PyTorch."""

    def tied() -> nn.Module:
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        return nn.Sequential(first, nn.Tanh(), second, nn.Linear(3, 2))

    layers: Layers = [
        {"type": "Linear", "in_features": 3, "out_features": 3},
        {"type": "Tanh"},
        {"type": "Linear", "in_features": 3, "out_features": 3},
        {"type": "Linear", "in_features": 3, "out_features": 2},
    ]
    components = engine(training(optimizer=SGD), layers).components
    torch.manual_seed(3)
    components.model = tied()
    components.optimizer = optim.SGD(components.model.parameters(), lr=0.05, momentum=0.9)
    trainer = EagerEngine(components)
    assert_equals_script(trainer, script(tied, partial(optim.SGD, lr=0.05, momentum=0.9)))
    assert "2.weight" in trainer.checkpoint().last.state
    assert "2.weight" not in trainer.checkpoint().last.gradients


def test_the_seed_determines_initial_parameters() -> None:
    """Equal seeds give equal initial parameters, another seed gives others."""
    one, same, other = (
        engine(training(seed=seed), NET).components.model[0].weight.detach()  # type: ignore[index]
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
