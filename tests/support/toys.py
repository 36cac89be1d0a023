"""Small trainings, and the comparison of their results with each other and with scripts."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.history import HistoryChunk
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.engines.base import Engine
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from tests.support.outputs import one_output
from tests.support.script import Script, SplitData

Layers = list[dict[str, Any]]
EVERYTHING = 10**9

NET: Layers = [
    {"type": "Linear", "in_features": 3, "out_features": 5},
    {"type": "Tanh"},
    {"type": "Linear", "in_features": 5, "out_features": 2},
]
MATRIX: Layers = [{"type": "Linear", "in_features": 3, "out_features": 2, "bias": False}]
DROPPING: Layers = [
    {"type": "Linear", "in_features": 3, "out_features": 6},
    {"type": "BatchNorm1d", "num_features": 6},
    {"type": "Dropout", "p": 0.3},
    {"type": "Linear", "in_features": 6, "out_features": 2},
]


class ToyData(SplitData):
    """Training and validation rows: inputs [N, 3] and targets."""

    def prepared(self, validates: bool = True) -> Prepared:
        """Return the prepared data."""
        validation = Samples((self.x_val,), self.y_val) if validates else None
        return Prepared(Samples((self.x_train,), self.y_train), validation, None, self.encoding())

    def encoding(self) -> Encoding:
        """Return the encoding of three features; integer targets are the classes 0 and 1."""
        classes = (0, 1) if self.y_train.dtype is torch.int64 else None
        return Encoding(("input",), ((3,),), tuple(self.y_train.shape[1:]), classes=classes)


def samples(targets: Callable[[Tensor], Tensor] = lambda y: y, n_train: int = 11, n_val: int = 5) -> ToyData:
    """Make noisy samples of a linear map from 3 to 2 numbers.

    Args:
        targets: Converts values, float32 [N, 2], to the targets of a loss.
        n_train: Number of training rows.
        n_val: Number of validation rows.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n_train + n_val, 3, generator=generator)  # [N, 3]
    weight = torch.tensor([[1.0, -1.0], [0.5, 2.0], [-1.5, 0.3]])  # [3, 2]
    y = targets(x @ weight + 0.1 * torch.randn(n_train + n_val, 2, generator=generator))
    return ToyData(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


VALUES = samples()


@dataclass(frozen=True)
class WeightedData(ToyData):
    """Samples with weights, or with missing targets."""

    weights: Tensor | None = None  # [N], of the training rows, then of the validation rows
    masks: bool = False
    gathers: bool = False

    def prepared(self, validates: bool = True) -> Prepared:
        """Return the prepared data; with `gathers`, as rows of one larger dataset."""
        n = len(self.x_train)
        own = self.weights
        train = Samples((self.x_train,), self.y_train, weights=None if own is None else own[:n])
        validation = Samples((self.x_val,), self.y_val, weights=None if own is None else own[n:])
        if self.gathers:
            whole = Samples(
                (torch.cat([self.x_val, self.x_train]),),
                torch.cat([self.y_val, self.y_train]),
                weights=None if own is None else torch.cat([own[n:], own[:n]]),
            )
            rows = torch.arange(whole.rows)
            train = replace(whole, order=rows[len(self.x_val) :])
            validation = replace(whole, order=rows[: len(self.x_val)])
        encoding = replace(self.encoding(), masks_targets=self.masks, weights=None if own is None else "w")
        return Prepared(train, validation if validates else None, None, encoding)


def weights_of(rows: int, low: float = 0.0) -> Tensor:
    """Draw weights from `low` to 2; the first is 0."""
    weights = low + (2 - low) * torch.rand(rows, generator=torch.Generator().manual_seed(5))
    weights[0] = 0.0
    return weights


def weighted(data: ToyData = VALUES, **changes: Any) -> WeightedData:
    """Give samples random weights."""
    rows = len(data.x_train) + len(data.x_val)
    return WeightedData(data.x_train, data.y_train, data.x_val, data.y_val, weights_of(rows), **changes)


def with_gaps(data: ToyData = VALUES, **changes: Any) -> WeightedData:
    """Remove a third of the targets; the second training row has none."""
    present = torch.rand(16, 2, generator=torch.Generator().manual_seed(6)) > 0.3
    present[1] = False
    y = torch.cat([data.y_train, data.y_val]).masked_fill(~present, math.nan)
    n = len(data.y_train)
    return WeightedData(data.x_train, y[:n], data.x_val, y[n:], masks=True, **changes)


def training(**section: Any) -> TrainingSpec:
    """Return a training section with some fields changed."""
    base = {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.05}, "epochs": 6, "seed": 3}
    return TrainingSpec.model_validate({**base, **section})


def engine(
    spec: TrainingSpec,
    layers: Layers = NET,
    data: ToyData = VALUES,
    validates: bool = True,
    precision: str = "float32",
) -> EagerEngine:
    """Return the eager engine of a training before its first step, on the CPU."""
    architecture = read_architecture({"type": "sequential", "layers": layers})
    width = one_output(int(layers[-1].get("out_features", 2)))
    device = torch.device("cpu")
    return EagerEngine(assemble(architecture, spec, data.prepared(validates), width, device, precision))


def run(trainer: Engine, chunk: int = EVERYTHING) -> HistoryChunk:
    """Train to the end in chunks of `chunk` steps; return the whole history."""
    chunks = []
    while trainer.stop_reason is None:
        made = trainer.advance(chunk)
        if made is not None:
            chunks.append(made)
    return HistoryChunk.join(chunks)


def column(history: HistoryChunk, name: str) -> list[float]:
    """Return one column of a history."""
    values: list[float] = history.values[history.columns.index(name)].tolist()
    return values


def assert_same_history(one: HistoryChunk, other: HistoryChunk) -> None:
    """Assert that two histories are equal, bit for bit; NaN equals NaN."""
    assert one.first_epoch == other.first_epoch
    assert one.columns == other.columns
    np.testing.assert_array_equal(one.values, other.values, strict=True)


def assert_same_checkpoint(one: Checkpoint, other: Checkpoint) -> None:
    """Assert that two checkpoints have the same parameters, gradients and other state, bit for bit."""
    assert (one.best is None) == (other.best is None)
    for mine, yours in ((one.last, other.last), (one.best, other.best)):
        if mine is not None and yours is not None:
            assert mine.epoch == yours.epoch
            assert_same_tensors(mine.state, yours.state)
            assert_same_tensors(mine.gradients, yours.gradients)
    assert_same_tensors(one.rng, other.rng)
    assert _comparable(one.monitor) == _comparable(other.monitor)
    assert _comparable(one.optimizer) == _comparable(other.optimizer)
    assert _comparable(one.scheduler) == _comparable(other.scheduler)


def _comparable(value: Any) -> Any:
    """Convert a value for comparison: tensors and tuples to lists, floats to text, since NaN != NaN."""
    if isinstance(value, Tensor):
        return _comparable(value.tolist())
    if isinstance(value, dict):
        return {str(key): _comparable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    return repr(value) if isinstance(value, float) else value


def assert_same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Assert that two dictionaries have the same names and equal tensors, bit for bit."""
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


def restored(checkpoint: Checkpoint, make: Callable[[], EagerEngine]) -> EagerEngine:
    """Make an engine, and restore a checkpoint in it by way of its bytes."""
    body = checkpoint.to_bytes()
    engine = make()
    torch.manual_seed(999)  # the state of the process must not matter
    engine.restore(Checkpoint.from_bytes(body))
    return engine


def script(
    build: Callable[[], nn.Module],
    make_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
    make_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    data: ToyData = VALUES,
    epochs: int = 6,
    **arguments: Any,
) -> Script:
    """The script of `training()`, not yet run; further arguments as those of `Script`."""
    return Script(data, build, make_optimizer, make_scheduler, epochs=epochs, seed=3, **arguments)


def assert_equals_script(trainer: EagerEngine, script: Script) -> None:
    """A new engine and a script train to the same history, parameters, buffers and gradients, bit for bit."""
    history = run(trainer)
    script.run()  # after the engine, not beside it: both draw from the global generator
    assert column(history, "train_loss") == script.train_loss
    assert column(history, "validation_loss") == script.validation_loss
    assert column(history, "learning_rate") == script.learning_rate
    assert_same_tensors(trainer.components.model.state_dict(), script.model.state_dict())
    for mine, yours in zip(trainer.components.model.parameters(), script.model.parameters(), strict=True):
        assert mine.grad is not None
        assert yours.grad is not None
        assert torch.equal(mine.grad, yours.grad)


def net() -> nn.Module:
    """Build `NET` by hand."""
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def matrix() -> nn.Module:
    """Build `MATRIX` by hand."""
    return nn.Sequential(nn.Linear(3, 2, bias=False))


def dropping() -> nn.Module:
    """Build `DROPPING` by hand."""
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 2))


ONE_OUTPUT_LOSSES = [
    name
    for name, loss in LOSSES.items()
    if loss.output_shapes is None and len(loss.takes) == 1 and not loss.is_expression
]
"""Losses of one output, that has the shape of the targets or a score for each class."""


def fitting(loss: str) -> tuple[Layers, ToyData]:
    """Return layers and samples that fit a loss of `ONE_OUTPUT_LOSSES`."""
    if LOSSES[loss].targets == "classes":
        final = [{"type": "LogSoftmax", "dim": 1}] if loss == "NLLLoss" else []
        return NET + final, samples(lambda y: y.argmax(dim=1))
    binary = samples(lambda y: (y > 0).float())
    signs = samples(lambda y: (y > 0).float() * 2 - 1)
    return {
        "BCELoss": ([*NET, {"type": "Sigmoid"}], binary),
        "BCEWithLogitsLoss": (NET, binary),
        "HingeEmbeddingLoss": (NET, signs),
        "KLDivLoss": ([*NET, {"type": "LogSoftmax", "dim": 1}], samples(lambda y: y.softmax(dim=1))),
        "MultiLabelMarginLoss": (
            NET,
            samples(lambda y: torch.stack([y.argmax(1), 0 * y[:, 0] - 1], 1).float()),
        ),
        "MultiLabelSoftMarginLoss": (NET, binary),
        "PoissonNLLLoss": (NET, samples(lambda y: y.abs().round())),
        "SoftMarginLoss": (NET, signs),
    }.get(loss, (NET, VALUES))


SCHEDULES: dict[str, dict[str, Any]] = {
    "ConstantLR": {"factor": 0.5, "total_iters": 2},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 2, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9},
    "ExponentialLR": {"gamma": 0.8},
    "LinearLR": {"start_factor": 0.25, "total_iters": 4},
    "MultiStepLR": {"milestones": [2, 2, 4], "gamma": 0.3},
    "OneCycleLR": {"max_lr": 0.1},
    "PolynomialLR": {"total_iters": 5, "power": 2.0},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 0.1, "factor": 0.5},
    "StepLR": {"step_size": 2, "gamma": 0.5},
}
