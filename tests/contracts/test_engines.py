"""The contract of engines: from equal states, each step equals the eager engine's up to rounding."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from service.datasets.samples import Samples
from service.history import HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint
from service.training.components import Components
from service.training.engines.compiled.engine import CompiledEngine
from service.training.engines.compiled.optimizers import UPDATE_RULES
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from service.training.optimizers import OPTIMIZERS as TORCH_OPTIMIZERS
from tests.support.toys import (
    NET,
    ONE_OUTPUT_LOSSES,
    SCHEDULES,
    VALUES,
    Layers,
    ToyData,
    engine,
    fitting,
    run,
    samples,
    training,
    weighted,
    weights_of,
    with_gaps,
)

KL_ADVICE = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
ELEMENTWISE = {*ONE_OUTPUT_LOSSES} - {
    *("CrossEntropyLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss")
}
EPOCHS, MIDDLE = 50, 25
SGD = {"type": "SGD", "lr": 0.02, "momentum": 0.9}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"type": "SGD", "lr": 0.02},
    "momentum": {**SGD, "weight_decay": 0.01, "dampening": 0.1},
    "nesterov": {**SGD, "nesterov": True, "maximize": False},
    "Adam": {"type": "Adam", "lr": 0.02, "betas": [0.8, 0.95], "weight_decay": 0.01},
    "amsgrad": {"type": "Adam", "lr": 0.02, "amsgrad": True},
    "AdamW": {"type": "AdamW", "lr": 0.02, "weight_decay": 0.1},
    "RMSprop": {"type": "RMSprop", "lr": 0.005},
    "centered": {"type": "RMSprop", "lr": 0.005, "centered": True, "momentum": 0.5, "weight_decay": 0.01},
    "Adagrad": {"type": "Adagrad", "lr": 0.05, "lr_decay": 0.01, "initial_accumulator_value": 0.1},
    "ASGD": {"type": "ASGD", "lr": 0.02, "lambd": 0.01, "t0": 20, "weight_decay": 0.01},
    "Adadelta": {"type": "Adadelta", "rho": 0.8, "weight_decay": 0.01},
    "Adafactor": {"type": "Adafactor", "lr": 0.05, "weight_decay": 0.01},
    "thresholds": {"type": "Adafactor", "lr": 0.3, "eps": [1e-3, 0.5], "d": 1.2, "beta2_decay": -0.5},
    "Adamax": {"type": "Adamax", "lr": 0.02, "betas": [0.8, 0.95], "weight_decay": 0.01},
    "NAdam": {"type": "NAdam", "lr": 0.02, "weight_decay": 0.01, "momentum_decay": 0.01},
    "decoupled": {"type": "NAdam", "lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True},
    "RAdam": {"type": "RAdam", "lr": 0.02, "betas": [0.9, 0.95], "weight_decay": 0.01},
    "Rprop": {"type": "Rprop", "lr": 0.01, "etas": [0.4, 1.3], "step_sizes": [1e-4, 0.05]},
}


def exhaustive_if(rest: Collection[str], names: Iterable[str]) -> list[Any]:
    """Return names as parameters; those in `rest` are left to the exhaustive tests."""
    return [pytest.param(name, marks=pytest.mark.exhaustive if name in rest else ()) for name in names]


def linear(inputs: int, outputs: int) -> dict[str, Any]:
    """Make the spec of a `Linear`."""
    return {"type": "Linear", "in_features": inputs, "out_features": outputs}


def shaped(*shape: int) -> dict[str, Any]:
    """Make the spec of an `Unflatten` from [B, n] to [B, *shape]."""
    return {"type": "Unflatten", "dim": 1, "unflattened_size": list(shape)}


ATTENTION = {
    "type": "TransformerEncoderLayer",
    "d_model": 4,
    "nhead": 2,
    "dim_feedforward": 8,
    "dropout": 0.0,
}
ARCHITECTURES: dict[str, Layers] = {
    "deep": [linear(3, 7), {"type": "GELU"}, linear(7, 6), {"type": "SiLU"}, linear(6, 2)],
    "convolution": [
        *(linear(3, 32), shaped(2, 4, 4)),
        {"type": "Conv2d", "in_channels": 2, "out_channels": 4, "kernel_size": 3, "padding": 1},
        *({"type": "ReLU", "inplace": True}, {"type": "MaxPool2d", "kernel_size": 2}, {"type": "Flatten"}),
        linear(16, 2),
    ],
    "signal": [
        *(linear(3, 16), shaped(2, 8)),
        {"type": "ConvTranspose1d", "in_channels": 2, "out_channels": 3, "kernel_size": 4, "stride": 2},
        *({"type": "AvgPool1d", "kernel_size": 3}, {"type": "Flatten"}, linear(18, 2)),
    ],
    "norms": [
        *(linear(3, 24), {"type": "LayerNorm", "normalized_shape": [24]}, shaped(4, 6)),
        *({"type": "GroupNorm", "num_groups": 2, "num_channels": 4}, {"type": "Flatten"}, linear(24, 2)),
    ],
    "statistics": [
        *({**linear(3, 32), "bias": False}, shaped(2, 16), {"type": "BatchNorm1d", "num_features": 2}),
        *({"type": "Tanh"}, {"type": "BatchNorm1d", "num_features": 2, "momentum": None}, {"type": "SiLU"}),
        *({"type": "InstanceNorm1d", "num_features": 2, "track_running_stats": True}, {"type": "Flatten"}),
        linear(32, 2),
    ],
    "frozen": [
        {**linear(3, 6), "trainable": False, "initial": {"weight": "xavier_uniform_"}},
        {
            "type": "module",
            "inputs": ["x"],
            "constants": {"scale": 0.5},
            "parameters": {"shift": {"shape": [2], "init": "ones_", "trainable": False}},
            "buffers": {"mask": "torch.triu(torch.ones(6, 6))"},
            "submodules": {"out": linear(6, 2)},
            "forward": "return self.out(torch.tanh(x @ self.mask) * self.scale) + self.shift",
        },
    ],
    "attention": [
        linear(3, 12),
        shaped(3, 4),
        {**ATTENTION, "batch_first": True},
        {"type": "Flatten"},
        linear(12, 2),
    ],
}


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> ProgramCache:
    """Make a cache of programs, as a worker has one."""
    return ProgramCache()


@dataclass(frozen=True)
class Tolerance:
    """How much the engines may differ, since they round in another order.

    Attributes:
        step: Relative difference after one epoch from an equal state.
        longest: Relative difference of losses over 50 epochs.
        noise: Absolute difference of a sum that cancels to 0: the rounding error of its summands, which are
            of order 1.
        floor: Absolute difference of losses over 50 epochs.
    """

    step: float
    longest: float
    noise: float
    floor: float = 0.0


SINGLE = Tolerance(step=1e-5, longest=1e-3, noise=1e-7)
ROUNDED = Tolerance(step=1e-3, longest=1e-2, noise=1e-5)  # an update is rounded to bfloat16
# Forward and backward pass round to 8 bits; sums in another order round differently.
HALF = Tolerance(step=2e-2, longest=5e-2, noise=1e-3, floor=1e-2)
DOUBLE = Tolerance(step=1e-10, longest=1e-6, noise=1e-15)


def assert_close(
    one: dict[str, Tensor], other: dict[str, Tensor], tolerance: Tolerance, factor: float = 1
) -> None:
    """Assert that tensors of the same names agree, relative to the largest number in each."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert tensor.shape == other[name].shape
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        difference = float((tensor.double() - other[name].double()).abs().max()) if tensor.numel() else 0.0
        allowed = factor * tolerance.step * largest + tolerance.noise
        assert difference <= allowed, f"{name}: {difference} of {largest}"


def assert_agree(one: Checkpoint, other: Checkpoint, tolerance: Tolerance) -> None:
    """Assert that checkpoints agree: tensors up to rounding, everything else exactly."""
    assert one.last.epoch == other.last.epoch
    assert_close(one.last.state, other.last.state, tolerance)
    assert_close(one.last.gradients, other.last.gradients, tolerance, factor=10)
    assert one.optimizer["param_groups"] == other.optimizer["param_groups"]
    assert one.optimizer["state"].keys() == other.optimizer["state"].keys()
    for position, kept in one.optimizer["state"].items():
        assert_close(
            dict(sorted(kept.items())),
            dict(sorted(other.optimizer["state"][position].items())),
            tolerance,
            factor=10,
        )
    # The best loss of a plateau is a result.
    assert _without_best(one.scheduler) == _without_best(other.scheduler)
    assert torch.equal(one.rng["cpu"], other.rng["cpu"])


def _without_best(scheduler: dict[str, Any] | None) -> dict[str, Any] | None:
    return scheduler and {name: value for name, value in scheduler.items() if name != "best"}


def epochs(trainer: EagerEngine | CompiledEngine, count: int) -> HistoryChunk:
    """Train `count` epochs."""
    chunk = trainer.advance(count * trainer.steps_per_epoch)
    assert chunk is not None
    return chunk


def assert_contract(
    make: Callable[[], Components], programs: ProgramCache, tolerance: Tolerance = SINGLE
) -> None:
    """Assert that the engines agree after 1 epoch, over 50, and one epoch after each other's checkpoints."""
    engines: list[Callable[[], EagerEngine | CompiledEngine]] = [
        lambda: EagerEngine(make()),
        lambda: CompiledEngine(make(), programs),
    ]
    starts, histories = [], []
    for make_engine in engines:
        trainer = make_engine()
        chunks = [epochs(trainer, 1)]
        starts.append([saved(trainer)])
        chunks.append(epochs(trainer, MIDDLE - 1))
        starts[-1].append(saved(trainer))
        chunks.append(epochs(trainer, EPOCHS - MIDDLE))
        histories.append(HistoryChunk.join(chunks).values)
    np.testing.assert_allclose(histories[1][:, 0], histories[0][:, 0], rtol=tolerance.step)
    np.testing.assert_allclose(histories[1], histories[0], rtol=tolerance.longest, atol=tolerance.floor)
    assert_agree(starts[0][0], starts[1][0], tolerance)
    for one_engines in starts:
        after = []
        for make_engine in engines:
            trainer = make_engine()
            trainer.restore(one_engines[1])
            chunk = epochs(trainer, 1)
            after.append((chunk, saved(trainer)))
        assert after[0][0].first_epoch == after[1][0].first_epoch == MIDDLE + 1
        np.testing.assert_allclose(after[1][0].values, after[0][0].values, rtol=tolerance.step)
        assert_agree(after[0][1], after[1][1], tolerance)


def saved(trainer: EagerEngine | CompiledEngine) -> Checkpoint:
    """Write the checkpoint to a file's bytes and read them."""
    return Checkpoint.from_bytes(trainer.checkpoint().to_bytes())


def components(
    layers: Layers = NET,
    data: ToyData = VALUES,
    validates: bool = True,
    precision: str = "float32",
    **section: Any,
) -> Callable[[], Components]:
    """Return a function that makes new components of a training."""
    spec = training(epochs=1000, **section)
    return lambda: engine(spec, layers, data, validates, precision).components


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str, programs: ProgramCache) -> None:
    """Each optimizer and its variants update by PyTorch's formula."""
    assert_contract(components(optimizer=OPTIMIZERS[optimizer], batch_size=4), programs)


@pytest.mark.parametrize("optimizer", exhaustive_if(OPTIMIZERS.keys() - {"Adam", "centered"}, OPTIMIZERS))
def test_every_optimizer_with_a_full_batch(optimizer: str, programs: ProgramCache) -> None:
    """Each optimizer and its variants update by PyTorch's formula where an epoch is one step."""
    assert_contract(components(optimizer=OPTIMIZERS[optimizer]), programs)


@pytest.mark.parametrize(
    "options", [{}, {"nesterov": False, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"}]
)
def test_muon(options: dict[str, Any], programs: ProgramCache) -> None:
    """Muon, which takes matrices only, agrees up to its own rounding to bfloat16."""
    layers: Layers = [{**linear(3, 4), "bias": False}, {"type": "Tanh"}, {**linear(4, 2), "bias": False}]
    make = components(layers, optimizer={"type": "Muon", "lr": 0.02, **options}, batch_size=4)
    assert_contract(make, programs, ROUNDED)


@KL_ADVICE
@pytest.mark.parametrize("loss", ONE_OUTPUT_LOSSES)
def test_every_loss(loss: str, programs: ProgramCache) -> None:
    """Each loss has PyTorch's value and gradient."""
    layers, data = fitting(loss)
    assert_contract(components(layers, data, loss=loss, optimizer=SGD), programs)


@KL_ADVICE
@pytest.mark.parametrize("loss", exhaustive_if(ELEMENTWISE, ONE_OUTPUT_LOSSES))
def test_every_loss_with_weights(loss: str, programs: ProgramCache) -> None:
    """Losses of weighted rows agree, with class weights too."""
    # `test_missing_targets_with_weights` covers the elementwise ones.
    layers, data = fitting(loss)
    section: dict[str, Any] = {"loss": loss, "batch_size": 4}
    if LOSSES[loss].weight_argument == "weight":
        section["class_weights"] = {"0": 0.5, "1": 3.0}
    assert_contract(components(layers, weighted(data), **section), programs)


def assert_contract_with_gaps(loss: str, programs: ProgramCache, weights: Tensor | None) -> None:
    """Assert that losses and metrics of missing targets agree."""
    layers, data = fitting(loss)
    metrics = ["mean_absolute_error", "mean_squared_error"] if LOSSES[loss].probabilities is None else []
    gaps = with_gaps(data, weights=weights)
    assert_contract(components(layers, gaps, loss=loss, metrics=metrics, batch_size=4), programs)


@KL_ADVICE
@pytest.mark.parametrize("loss", sorted(ELEMENTWISE))
def test_missing_targets_with_weights(loss: str, programs: ProgramCache) -> None:
    """Losses and metrics of missing targets agree when rows have weights."""
    assert_contract_with_gaps(loss, programs, weights_of(16))


@KL_ADVICE
@pytest.mark.parametrize("loss", exhaustive_if(ELEMENTWISE - {"MSELoss"}, sorted(ELEMENTWISE)))
def test_missing_targets(loss: str, programs: ProgramCache) -> None:
    """Losses and metrics of missing targets agree without weights."""
    assert_contract_with_gaps(loss, programs, None)


def test_dropped_batches(programs: ProgramCache) -> None:
    """An epoch without its incomplete last batch agrees."""
    section = {"batch_size": 4, "drop_last": True, "metrics": ["r2_score"]}
    assert_contract(components(**section), programs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture: str, programs: ProgramCache) -> None:
    """Forward and backward pass of convolutions, norms and attention are PyTorch's, and the statistics."""
    assert_contract(components(ARCHITECTURES[architecture], optimizer=SGD, batch_size=4), programs)


LSTM = {
    "type": "LSTM",
    "input_size": 3,
    "hidden_size": 4,
    "num_layers": 3,
    "dropout": 0.3,
    "batch_first": True,
}
SAMPLING = """
class Sampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.log_std = nn.Linear(3, 6), nn.Linear(3, 6)
        self.rate, self.out = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        std = torch.exp(0.5 * self.log_std(x))
        z = self.mean(x) + torch.randn_like(std) * std
        z = torch.normal(z, 0.1) + 0.1 * torch.rand(6)
        rate = torch.sigmoid(self.rate(F.dropout(z, 0.1, self.training)))
        return self.out(torch.bernoulli(rate.detach()) + rate)
"""
DRAWING: dict[str, Layers] = {
    "dropout": [
        *(linear(3, 8), {"type": "Dropout", "p": 0.3}, {"type": "AlphaDropout", "p": 0.2}, shaped(4, 2)),
        *({"type": "Dropout1d", "p": 0.2}, {"type": "Flatten"}, shaped(2, 2, 2)),
        *({"type": "FeatureAlphaDropout", "p": 0.2}, {"type": "Dropout2d", "p": 0.2, "inplace": True}),
        *({"type": "Flatten"}, linear(8, 2)),
    ],
    "attention": [
        *(linear(3, 12), shaped(3, 4), {**ATTENTION, "dropout": 0.2, "batch_first": True}),
        *({**ATTENTION, "dropout": 0.2}, {"type": "Flatten"}, linear(12, 2)),
    ],
    "recurrence": [linear(3, 6), shaped(2, 3), LSTM, {"type": "Flatten"}, linear(8, 2)],
    "sampling": [{"type": "class", "source": SAMPLING}],
}


@pytest.mark.parametrize("batch_size", exhaustive_if([None], [None, 4]))
@pytest.mark.parametrize("architecture", DRAWING)
def test_random_draws(architecture: str, batch_size: int | None, programs: ProgramCache) -> None:
    """Random numbers are those of the eager engine, in its order; sampling draws in validations too."""
    make = components(DRAWING[architecture], optimizer=SGD, batch_size=batch_size)
    assert_contract(make, programs)


@pytest.mark.parametrize(
    "architecture",
    exhaustive_if(ARCHITECTURES.keys() - {"attention", "statistics"}, [*ARCHITECTURES, "dropout"]),
)
def test_bfloat16(architecture: str, programs: ProgramCache) -> None:
    """Under autocast, the same operators round to bfloat16 as in the eager engine."""
    layers = (ARCHITECTURES | DRAWING)[architecture]
    # With a small rate: roundings to 8 bits soon lead to other parameters, in each engine as between them.
    make = components(layers, precision="bfloat16", optimizer={"type": "SGD", "lr": 0.002}, batch_size=4)
    assert_contract(make, programs, HALF)


def test_a_classification_in_bfloat16(programs: ProgramCache) -> None:
    """The loss of a classification, which autocast computes in float32, agrees."""
    layers, data = fitting("CrossEntropyLoss")
    make = components(layers, data, loss="CrossEntropyLoss", precision="bfloat16")
    assert_contract(make, programs, HALF)


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_every_scheduler(scheduler: str, programs: ProgramCache) -> None:
    """Each step uses the numbers of its scheduler, momentum included."""
    section = {"type": scheduler, **SCHEDULES[scheduler]}
    assert_contract(components(optimizer=SGD, scheduler=section, batch_size=4), programs)


PLATEAUS: dict[str, dict[str, Any]] = {
    "cooldown": {"patience": 1, "cooldown": 3, "threshold": 0.2, "factor": 0.5},
    "absolute": {"patience": 2, "threshold": 0.05, "threshold_mode": "abs", "min_lr": 0.005},
    "max": {"mode": "max", "patience": 3, "threshold": 0.01, "factor": 0.9},
    "max absolute": {"mode": "max", "patience": 3, "threshold": 0.01, "threshold_mode": "abs", "eps": 0.004},
}


@pytest.mark.parametrize(
    ("plateau", "batch_size"),
    [("cooldown", None), ("cooldown", 4), ("absolute", None), ("max", 4), ("max absolute", None)],
)
def test_every_option_of_a_plateau(plateau: str, batch_size: int | None, programs: ProgramCache) -> None:
    """The learning rate is reduced after the same epochs, whatever the options."""
    section = {"type": "ReduceLROnPlateau", **PLATEAUS[plateau]}
    make = components(
        optimizer=SGD, scheduler=section, batch_size=batch_size, validates=plateau != "absolute"
    )
    trainer = CompiledEngine(make(), programs)
    rates = epochs(trainer, EPOCHS).values[2]
    assert len({*rates.tolist()}) > 1
    assert_contract(make, programs)


@pytest.mark.parametrize("batch_size", [None, 1, 11, 100])
def test_clipped_without_validation(batch_size: int | None, programs: ProgramCache) -> None:
    """Clipped gradients, batches of any size and no validation rows give the eager engine's training."""
    make = components(
        validates=False, optimizer=SGD, gradient_clip_norm=0.5, batch_size=batch_size, shuffle=False
    )
    assert_contract(make, programs)


@KL_ADVICE
@pytest.mark.exhaustive
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("loss", ONE_OUTPUT_LOSSES)
@pytest.mark.parametrize("optimizer", ["momentum", "amsgrad", "centered", "Adagrad", "Adafactor"])
def test_optimizers_with_every_loss(
    optimizer: str, loss: str, architecture: str, programs: ProgramCache
) -> None:
    """Optimizers of each form with every loss and architecture fulfil the contract in double precision."""
    # In single precision, an optimizer that divides by the root of a small average enlarges rounding to
    # differences that look like those of another formula.
    final, data = fitting(loss)
    # An adaptive optimizer scales a gradient that is 0 but for rounding to noise of full size. The gradient
    # of the bias of attention's keys is always 0: softmax does not depend on it.
    layers = [
        {**layer, "bias": False} if layer["type"] == ATTENTION["type"] else layer
        for layer in ARCHITECTURES[architecture]
    ]
    layers += final[len(NET) :]
    make = components(layers, data, loss=loss, optimizer=OPTIMIZERS[optimizer])
    assert_contract(lambda: in_double_precision(make()), programs, DOUBLE)


def in_double_precision(single: Components) -> Components:
    """Convert the model, the loss and the samples of a training to float64."""

    def converted(samples: Samples) -> Samples:
        inputs = tuple(x.double() for x in samples.inputs)
        targets = samples.targets.double() if samples.targets.is_floating_point() else samples.targets
        return replace(samples, inputs=inputs, targets=targets)

    assert single.validation is not None
    single.model.double()
    single.loss_fn.double()
    single.optimizer.load_state_dict(
        single.optimizer.state_dict()
    )  # converts the state that Adagrad starts with
    single.train, single.validation = converted(single.train), converted(single.validation)
    return single


def test_tables_are_complete() -> None:
    """The tests cover each optimizer of the catalog, and each can be compiled."""
    assert (
        {"Muon", *(each["type"] for each in OPTIMIZERS.values())}
        == set(UPDATE_RULES)
        == set(TORCH_OPTIMIZERS)
    )


def test_a_monitored_metric_without_a_value_stops_no_engine(programs: ProgramCache) -> None:
    """With R² of a single validation row, both engines train all epochs, and find no best one."""
    stopping = {"monitor": "validation_r2_score", "patience": 2}
    spec = training(metrics=["r2_score"], early_stopping=stopping, epochs=9)
    data = samples(n_val=1)
    for trainer in (engine(spec, data=data), CompiledEngine(engine(spec, data=data).components, programs)):
        history = run(trainer)
        assert (trainer.epoch, trainer.stop_reason) == (9, StopReason.COMPLETED)
        assert np.isnan(history.values[history.columns.index("validation_r2_score")]).all()
        assert trainer.best is None
        monitor = trainer.components.monitor
        assert monitor is not None
        assert (monitor.best_epoch, monitor.epochs_without_improvement) == (None, 0)
