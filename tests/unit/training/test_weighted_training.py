"""Weights of rows, missing targets and dropped batches, compared with loops that use `reduction="none"`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    accuracy_score,
    explained_variance_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)
from torch import Tensor, nn, optim
from torch.utils.data import BatchSampler

from service.history import HistoryChunk
from service.training.engines.eager.engine import EagerEngine
from tests.support.toys import (
    VALUES,
    Layers,
    ToyData,
    WeightedData,
    assert_same_history,
    assert_same_tensors,
    column,
    engine,
    net,
    restored,
    run,
    samples,
    training,
    weighted,
    weights_of,
    with_gaps,
)

# (outputs, targets, weights) -> (loss of the batch, its weight in the epoch)
BatchLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Loop:
    """A training loop as a user writes it, with the loss of each batch by `batch_loss`."""

    batch_loss: BatchLoss
    data: ToyData
    batch_size: int | None = None
    drop_last: bool = False
    epochs: int = 6
    model: nn.Module = field(init=False)
    train_loss: list[float] = field(init=False, default_factory=list)
    validation_loss: list[float] = field(init=False, default_factory=list)

    def run(self) -> "Loop":
        """Train with SGD, as `training()` does."""
        data = self.data
        n = len(data.x_train)
        w = getattr(data, "weights", None)
        w = torch.ones(n + len(data.x_val)) if w is None else w
        w_train, w_val = w[:n], w[n:]
        torch.manual_seed(3)
        self.model = model = net()
        optimizer = optim.SGD(model.parameters(), lr=0.05)

        def validate() -> None:
            with torch.no_grad():
                loss, _ = self.batch_loss(model(data.x_val), data.y_val, w_val)
            self.validation_loss.append(loss.item())

        for _ in range(self.epochs):
            order = torch.arange(n) if self.batch_size is None else torch.randperm(n)
            batches = BatchSampler(order.tolist(), self.batch_size or n, self.drop_last)
            total, total_weight = 0.0, 0.0
            for batch in batches:
                loss, weight = self.batch_loss(
                    model(data.x_train[batch]), data.y_train[batch], w_train[batch]
                )
                total += weight.item() * loss.item()
                total_weight += weight.item()
                if self.batch_size is None:
                    validate()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            self.train_loss.append(total / total_weight)
            if self.batch_size is not None:
                validate()
        return self


def of_rows(loss_fn: nn.Module, outputs: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean over rows of the mean over outputs."""
    losses = loss_fn(outputs, y)
    losses = losses.mean(dim=1) if losses.dim() > 1 else losses
    return (w * losses).sum() / w.sum(), w.sum()


def of_classes(class_weights: Tensor, outputs: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's mean over classes, with weights of rows."""
    losses = nn.functional.cross_entropy(outputs, y, class_weights, reduction="none")
    return (w * losses).sum() / (w * class_weights[y]).sum(), w.sum()


def of_present(outputs: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean over present targets."""
    mask = ~y.isnan()
    losses = nn.functional.mse_loss(outputs, y.nan_to_num(), reduction="none")
    counts = mask * w[:, None]
    return (losses * counts).sum() / counts.sum(), counts.sum()


def assert_equals_loop(trainer: EagerEngine, loop: Loop) -> None:
    """A new engine and a loop train to the same history and parameters, bit for bit."""
    history = run(trainer)
    loop.run()
    assert column(history, "train_loss") == loop.train_loss
    assert column(history, "validation_loss") == loop.validation_loss
    assert_same_tensors(trainer.components.model.state_dict(), loop.model.state_dict())


def of_all(outputs: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over all rows."""
    return nn.functional.mse_loss(outputs, y), torch.tensor(float(len(y)))


BATCH_SIZES = [None, 3, 4]


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_weights_are_those_of_a_loop(batch_size: int | None, gathers: bool) -> None:
    """The loss is Σ w l / Σ w of each batch, and of the epoch; also where batches are gathered."""
    data = weighted(gathers=gathers)
    loop = Loop(partial(of_rows, nn.MSELoss(reduction="none")), data, batch_size)
    assert_equals_loop(engine(training(batch_size=batch_size), data=data), loop)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_weights_multiply_class_weights(batch_size: int | None) -> None:
    """With class weights, the loss is Σ w c l / Σ w c."""
    data = weighted(samples(lambda y: y.argmax(dim=1)))
    loop = Loop(partial(of_classes, torch.tensor([0.3, 2.0])), data, batch_size)
    spec = training(loss="CrossEntropyLoss", class_weights={"0": 0.3, "1": 2.0}, batch_size=batch_size)
    assert_equals_loop(engine(spec, data=data), loop)


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_missing_targets_are_left_out(batch_size: int | None, has_weights: bool) -> None:
    """The loss is the mean over present targets, by weight; a row without any has no part in it."""
    data = with_gaps(weights=weights_of(16) if has_weights else None)
    assert_equals_loop(engine(training(batch_size=batch_size), data=data), Loop(of_present, data, batch_size))


def test_the_last_batch_is_dropped() -> None:
    """With `drop_last`, steps and loss of an epoch are those of its whole batches."""
    trainer = engine(training(batch_size=4, drop_last=True))
    assert trainer.steps_per_epoch == 2  # of 11 rows
    assert_equals_loop(trainer, Loop(of_all, VALUES, 4, drop_last=True))


def test_a_full_batch_is_not_dropped() -> None:
    """Without a batch size, `drop_last` has no effect."""
    assert_same_history(run(engine(training(drop_last=True))), run(engine(training())))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_integer_weights_repeat_rows(optimizer: str) -> None:
    """Integer weights train like rows repeated so many times; 0 leaves a row out."""
    times = torch.tensor([2, 1, 0, 3, 1, 1, 2, 0, 1, 4, 1, 1, 2, 0, 1, 3])
    n = len(VALUES.x_train)
    repeated = ToyData(
        VALUES.x_train.repeat_interleave(times[:n], dim=0),
        VALUES.y_train.repeat_interleave(times[:n], dim=0),
        VALUES.x_val.repeat_interleave(times[n:], dim=0),
        VALUES.y_val.repeat_interleave(times[n:], dim=0),
    )
    spec = training(epochs=30, optimizer={"type": optimizer, "lr": 0.02})
    data = replace(weighted(), weights=times.float())
    mine, theirs = run(engine(spec, data=data)), run(engine(spec, data=repeated))
    np.testing.assert_allclose(mine.values, theirs.values, rtol=1e-4)


def test_the_optimum_is_that_of_scikit_learn() -> None:
    """A linear fit with weights converges to the weighted least squares of scikit-learn."""
    data = weighted()
    spec = training(epochs=3000, optimizer={"type": "SGD", "lr": 0.2})
    layers: Layers = [{"type": "Linear", "in_features": 3, "out_features": 2}]
    trainer = engine(spec, layers, data)
    run(trainer)
    assert data.weights is not None
    n = len(data.x_train)
    fitted = LinearRegression().fit(data.x_train, data.y_train, sample_weight=data.weights[:n])
    state = trainer.components.model.state_dict()
    np.testing.assert_allclose(state["0.weight"], fitted.coef_, atol=1e-4)
    np.testing.assert_allclose(state["0.bias"], fitted.intercept_, atol=1e-4)


@pytest.mark.parametrize("data", [weighted(), with_gaps()], ids=["weights", "missing targets"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_nothing_in_a_batch_counts(data: WeightedData, batch_size: int | None) -> None:
    """A batch without weight or target has the loss 0 and gradients of 0: it changes nothing."""
    empty = replace(data, weights=None if data.masks else torch.zeros(16))
    if data.masks:
        empty = replace(empty, y_train=torch.full_like(data.y_train, math.nan))
    trainer = engine(training(batch_size=batch_size), data=empty, validates=False)
    before = {name: tensor.clone() for name, tensor in trainer.components.model.state_dict().items()}
    assert column(run(trainer), "train_loss") == [0.0] * 6
    assert_same_tensors(trainer.components.model.state_dict(), before)


def test_metrics_are_those_of_present_targets() -> None:
    """Metrics are means over present targets; R² and explained variance are computed for each output."""
    names = ["mean_absolute_error", "mean_squared_error", "r2_score", "explained_variance"]
    data = with_gaps(weights=weights_of(16))  # which metrics do not take into account
    trainer = engine(training(metrics=names, epochs=1), data=data)
    history = run(trainer)
    torch.manual_seed(3)
    outputs = net()(data.x_train).detach().double()
    y, mask = data.y_train.double(), ~data.y_train.isnan()
    expected = {
        "mean_absolute_error": mean_absolute_error(y[mask], outputs[mask]),
        "mean_squared_error": mean_squared_error(y[mask], outputs[mask]),
        "r2_score": np.mean([r2_score(y[m, k], outputs[m, k]) for k, m in enumerate(mask.T)]),
        "explained_variance": np.mean(
            [explained_variance_score(y[m, k], outputs[m, k]) for k, m in enumerate(mask.T)]
        ),
    }
    for name, value in expected.items():
        assert column(history, f"train_{name}") == pytest.approx([value], rel=1e-5)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_metrics_of_labels_are_those_of_present_targets(batch_size: int | None) -> None:
    """Metrics of several labels leave out missing ones, for each label by itself."""
    names = ["accuracy", "f1_score", "auroc"]
    gaps = with_gaps(samples(lambda y: (y > 0).float()))
    spec = training(loss="BCEWithLogitsLoss", metrics=names, epochs=1, batch_size=batch_size)
    trainer = engine(spec, data=gaps)
    history = run(trainer)
    if batch_size is None:
        torch.manual_seed(3)
        model = net()
    else:
        model = trainer.components.model
    with torch.no_grad():
        probabilities = model(gaps.x_val).sigmoid()
    columns = [(gaps.y_val[m, k], probabilities[m, k]) for k, m in enumerate((~gaps.y_val.isnan()).T)]
    expected = {
        "accuracy": accuracy_score(
            *map(np.concatenate, zip(*((y, p > 0.5) for y, p in columns), strict=True))
        ),
        "f1_score": np.mean([f1_score(y, p > 0.5) for y, p in columns]),
        "auroc": np.mean([roc_auc_score(y, p) for y, p in columns if len(set(y.tolist())) == 2]),
    }
    for name, value in expected.items():
        assert column(history, f"validation_{name}") == pytest.approx([value], rel=1e-5), name


@pytest.mark.parametrize(
    ("data", "section"),
    [
        (weighted(), {"batch_size": 3}),
        (with_gaps(weights=weights_of(16)), {"batch_size": 3, "metrics": ["r2_score", "explained_variance"]}),
        (VALUES, {"batch_size": 4, "drop_last": True}),
    ],
    ids=["weights", "missing targets", "dropped batch"],
)
def test_resumes_within_an_epoch(data: ToyData, section: dict[str, Any]) -> None:
    """A training that is interrupted after any step ends with the same bits."""

    def make() -> EagerEngine:
        return engine(training(**section), data=data)

    whole = make()
    history = run(whole)
    for step in range(1, 2 * whole.steps_per_epoch):
        interrupted = make()
        first = interrupted.advance(step)
        resumed = restored(interrupted.checkpoint(), make)
        chunks = [chunk for chunk in (first, run(resumed)) if chunk is not None]
        assert_same_history(HistoryChunk.join(chunks), history)
