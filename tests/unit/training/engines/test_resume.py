"""A training restored from a checkpoint continues as if it had not been interrupted."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from service.datasets.samples import Samples
from service.history import HistoryChunk
from service.specs.job import StopReason
from service.specs.training import TrainingSpec
from service.training.checkpoints import Checkpoint, PartialEpoch, Snapshot, without_shared_memory
from service.training.engines.eager.engine import EagerEngine
from service.training.optimizers import OPTIMIZERS
from service.training.schedulers import SCHEDULERS
from tests.support.toys import (
    DROPPING,
    MATRIX,
    SCHEDULES,
    Layers,
    assert_same_checkpoint,
    assert_same_history,
    assert_same_tensors,
    column,
    engine,
    fitting,
    restored,
    run,
    samples,
    training,
)

MOMENTUM = {"type": "SGD", "lr": 0.05, "momentum": 0.9}


def assert_resumes(spec: TrainingSpec, layers: Layers = DROPPING, validates: bool = True) -> None:
    """Assert that the training ends with the same bits when it is interrupted after any step and restored."""

    def make() -> EagerEngine:
        return engine(spec, layers, validates=validates)

    whole = make()
    history, end, reason = run(whole), whole.checkpoint(), whole.stop_reason
    for step in range(1, history.last_epoch * whole.steps_per_epoch):
        interrupted = make()
        first = interrupted.advance(step)
        fresh = restored(interrupted.checkpoint(), make)
        assert (fresh.epoch, fresh.steps_left) == (interrupted.epoch, interrupted.steps_left)
        chunks = [chunk for chunk in (first, run(fresh)) if chunk is not None]
        assert_same_history(HistoryChunk.join(chunks), history)
        assert_same_checkpoint(fresh.checkpoint(), end)
        assert fresh.stop_reason is reason


@pytest.mark.parametrize("batch_size", [None, 4])
def test_resumes_within_a_validation(batch_size: int | None) -> None:
    """A training interrupted between two slices of a validation ends with the same bits."""
    spec = training(batch_size=batch_size, epochs=3, metrics=["r2_score"], optimizer=MOMENTUM)
    data = samples(n_train=11, n_val=45)

    def make() -> EagerEngine:
        return EagerEngine(engine(spec, DROPPING, data).components, evaluation_bytes=1)

    whole = make()
    history, end = run(whole, chunk=1), whole.checkpoint()
    assert column(history, "validation_loss")[-1] == whole.evaluate(
        Samples((data.x_val,), data.y_val)
    ).loss or (
        batch_size is None  # the losses are those before the step
    )
    slices = whole.steps_per_epoch - (3 if batch_size else 1)
    assert slices > 1
    for step in range(1, 3 * whole.steps_per_epoch):
        interrupted, chunks = make(), list[HistoryChunk | None]()
        chunks += [interrupted.advance(1) for _ in range(step)]
        fresh = restored(interrupted.checkpoint(), make)
        chunks.append(run(fresh))
        assert_same_history(HistoryChunk.join([chunk for chunk in chunks if chunk is not None]), history)
        assert_same_checkpoint(fresh.checkpoint(), end)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes(name: str, batch_size: int | None) -> None:
    """The state of each optimizer is restored, with dropout, BatchNorm and shuffled batches."""
    layers = MATRIX if name == "Muon" else DROPPING
    assert_resumes(training(optimizer=name, batch_size=batch_size, epochs=4), layers)


@pytest.mark.parametrize(
    "arguments",
    [
        {"type": "SGD", "lr": 0.05},
        {"type": "SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"type": "Adam", "amsgrad": True, "weight_decay": 0.1, "betas": [0.8, 0.9]},
        {"type": "RMSprop", "momentum": 0.9, "centered": True},
        {"type": "Rprop", "etas": [0.4, 1.3], "step_sizes": [1e-5, 10.0]},
        {"type": "ASGD", "t0": 2.0},
        {"type": "Adagrad", "lr_decay": 0.1},
        {"type": "Adafactor", "weight_decay": 0.1, "eps": [None, 1e-2]},
        {"type": "NAdam", "decoupled_weight_decay": True, "weight_decay": 0.1},
    ],
    ids=lambda arguments: arguments["type"],
)
def test_optimizers_with_arguments_resume(arguments: dict[str, Any]) -> None:
    """Arguments that add state, and tuples, which JSON turns into lists, are restored."""
    assert_resumes(training(optimizer=arguments, batch_size=4, epochs=4))


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("optimizer", [MOMENTUM, "Adam"], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_resumes(name: str, optimizer: Any, batch_size: int | None) -> None:
    """The state of each scheduler is restored, including those that change momentum or betas."""
    scheduler = {"type": name, **SCHEDULES[name]}
    assert_resumes(training(optimizer=optimizer, scheduler=scheduler, batch_size=batch_size, epochs=5))


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_resumes(batch_size: int | None, patience: int) -> None:
    """The count of epochs without improvement is restored."""
    section = training(
        optimizer={"type": "SGD", "lr": 0.5},
        batch_size=batch_size,
        epochs=30,
        early_stopping={"patience": patience, "min_delta": 0.01},
    )
    assert_resumes(section)


def test_stopping_on_train_loss_without_validation_resumes() -> None:
    """A column of NaN (no validation rows) is restored in the best epoch's values."""
    section = training(batch_size=4, early_stopping={"monitor": "train_loss", "patience": 2})
    assert_resumes(section, validates=False)


def test_metrics_and_clipping_resume() -> None:
    """The states of metrics within an epoch are restored."""
    section = training(
        metrics=["r2_score", "mean_absolute_error"],
        gradient_clip_norm=0.3,
        early_stopping={"monitor": "validation_r2_score", "patience": 3},
        batch_size=4,
    )
    assert_resumes(section)


def test_metrics_that_keep_all_predictions_resume() -> None:
    """A metric whose state is a list with one entry per batch is restored."""
    layers, data = fitting("BCEWithLogitsLoss")
    section = training(loss="BCEWithLogitsLoss", metrics=["auroc", "accuracy"], batch_size=4, epochs=2)
    history = run(engine(section, layers, data))
    for step in range(1, 6):
        interrupted = engine(section, layers, data)
        first = interrupted.advance(step)
        fresh = restored(interrupted.checkpoint(), lambda: engine(section, layers, data))
        chunks = [chunk for chunk in (first, run(fresh)) if chunk is not None]
        assert_same_history(HistoryChunk.join(chunks), history)


def test_samples_in_their_own_order_resume() -> None:
    """Without shuffling, a partial epoch has no order."""
    section = training(optimizer=MOMENTUM, batch_size=4, shuffle=False)
    interrupted = engine(section)
    interrupted.advance(2)
    partial = interrupted.checkpoint().partial
    assert partial is not None
    assert (partial.step, partial.order) == (2, None)
    assert_resumes(section)


def test_best_gradients_that_appear_later_resume() -> None:
    """A best first epoch has no gradients, also when restored; later best epochs have them."""
    trainer = engine(training())
    trainer.advance(1)
    assert trainer.best is not None
    assert not trainer.best.gradients
    fresh = restored(trainer.checkpoint(), lambda: engine(training()))
    assert fresh.best is not None
    assert not fresh.best.gradients
    run(fresh)
    assert fresh.best.gradients.keys() == dict(fresh.components.model.named_parameters()).keys()


def test_equal_shapes_are_not_mixed_up() -> None:
    """The best epoch's tensors keep their names, although a file orders them differently than the model."""
    layers: Layers = [
        {"type": "Linear", "in_features": 3, "out_features": 3},
        {"type": "LayerNorm", "normalized_shape": [3]},
        {"type": "Linear", "in_features": 3, "out_features": 2},
    ]
    assert_resumes(training(epochs=5), layers)


@pytest.mark.parametrize("stopping", [None, {"patience": 2}])
def test_a_finished_training_stays_finished(stopping: dict[str, Any] | None) -> None:
    """A training restored after its last epoch has its stop reason."""
    optimizer = {"type": "SGD", "lr": 0.0 if stopping else 0.05}
    section = training(optimizer=optimizer, early_stopping=stopping)
    ended = engine(section)
    run(ended)
    fresh = restored(ended.checkpoint(), lambda: engine(section))
    assert fresh.stop_reason is ended.stop_reason
    assert fresh.stop_reason is (StopReason.EARLY_STOPPING if stopping else StopReason.COMPLETED)


def test_a_checkpoint_can_be_restored_twice() -> None:
    """Restoring does not change the checkpoint."""
    section = training(
        optimizer=MOMENTUM, scheduler={"type": "CyclicLR", **SCHEDULES["CyclicLR"]}, batch_size=4
    )
    interrupted = engine(section, DROPPING)
    interrupted.advance(6)
    checkpoint = Checkpoint.from_bytes(interrupted.checkpoint().to_bytes())
    before = checkpoint.to_bytes()
    histories = []
    for _ in range(2):
        fresh = engine(section, DROPPING)
        fresh.restore(checkpoint)
        histories.append(run(fresh))
    assert_same_history(*histories)
    assert checkpoint.to_bytes() == before


def test_more_epochs_continue_from_the_end() -> None:
    """A training of 3 epochs restored with 7 epochs equals one of 7."""
    long = engine(training(optimizer="Adam", batch_size=4, epochs=7), DROPPING)
    history, end = run(long), long.checkpoint()
    short = engine(training(optimizer="Adam", batch_size=4, epochs=3), DROPPING)
    first = run(short)
    further = training(optimizer="Adam", batch_size=4, epochs=7)
    fresh = restored(short.checkpoint(), lambda: engine(further, DROPPING))
    assert_same_history(HistoryChunk.join([first, run(fresh)]), history)
    assert_same_checkpoint(fresh.checkpoint(), end)


numbers = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70) | st.booleans() | st.none()
trees = st.dictionaries(
    st.text(max_size=5), numbers | st.lists(numbers, max_size=3) | st.text(max_size=5), max_size=4
)


@settings(deadline=None)
@given(
    monitor=trees, encoding=trees, epoch=st.integers(0, 10**7), shape=st.lists(st.integers(0, 3), max_size=3)
)
def test_round_trip(monitor: dict[str, Any], encoding: dict[str, Any], epoch: int, shape: list[int]) -> None:
    """A checkpoint is read as written: exact numbers, infinities, tensors of any shape."""
    tensors = {
        "a.weight": torch.randn(shape, generator=torch.Generator().manual_seed(0)),
        "a.count": torch.tensor(7),
        "b/odd name": torch.randn(2, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "half": torch.randn(2).bfloat16(),
    }
    last = Snapshot(epoch, tensors, {"a.weight": tensors["a.weight"]})
    rng = {"cpu": torch.get_rng_state()}
    optimizer = optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict()
    partial = PartialEpoch(2, math.inf, torch.randperm(5), {"auroc/preds": torch.rand(3)})
    written = Checkpoint(last, partial, last, optimizer, None, rng, monitor, encoding)
    read = Checkpoint.from_bytes(written.to_bytes())
    assert_same_checkpoint(read, written)
    assert read.monitor == monitor
    assert read.encoding == encoding
    assert read.partial is not None
    assert (read.partial.step, read.partial.loss_sum) == (2, math.inf)
    assert read.partial.order is not None
    assert torch.equal(read.partial.order, torch.as_tensor(partial.order))
    assert_same_tensors(read.partial.metrics, partial.metrics)
    assert read.scheduler is None


def test_a_file_holds_nothing_but_tensors_and_json() -> None:
    """A checkpoint is a safetensors file with JSON metadata; prefixes of names group its tensors."""
    trainer = engine(training(optimizer="Adam", scheduler={"type": "StepLR", "step_size": 2}))
    trainer.advance(3)
    body = trainer.checkpoint().to_bytes()
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    metadata = json.loads(header.pop("__metadata__")["fitserve"])
    assert metadata["epoch"] == 3
    assert {name.split("/")[0] for name in header} == {
        *("model", "gradient", "best", "optimizer", "rng", "encoding")
    }
    spans = sorted(each["data_offsets"] for each in header.values())
    assert spans[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[-1][1] == len(body) - 8 - length


def test_an_encoding_may_be_longer_than_a_header() -> None:
    """An encoding larger than 100 MB, the limit of a safetensors header, is read as written."""
    last = Snapshot(1, {"weight": torch.zeros(1)}, {})
    categories = ["ä" * 10**7, "x" * 10**8]
    body = Checkpoint(last, encoding={"categories": categories}).to_bytes()
    assert Checkpoint.from_bytes(body).encoding == {"categories": categories}


def test_an_encoding_in_a_header_is_read() -> None:
    """The encoding of an older file is read from its header."""
    metadata = {"epoch": 1, "partial": None, "best_epoch": None, "optimizer": None, "scheduler": None}
    metadata |= {"monitor": {}, "encoding": {"input_names": ["ä"]}}
    body = safetensors.torch.save({"model/weight": torch.ones(1)}, {"fitserve": json.dumps(metadata)})
    assert Checkpoint.from_bytes(body).encoding == {"input_names": ["ä"]}


def test_without_shared_memory_copies_tied_and_sliced_tensors() -> None:
    """Tensors that share memory are copied, with their values."""
    base = torch.arange(6.0).reshape(2, 3)
    tensors = {"whole": base, "again": base, "row": base[1], "turned": base.T, "empty": base[:0]}
    copies = without_shared_memory(tensors)
    assert all(torch.equal(copies[name], tensor) for name, tensor in tensors.items())
    assert all(tensor.is_contiguous() for tensor in copies.values())
    filled = [tensor.data_ptr() for name, tensor in copies.items() if name != "empty"]
    assert len(set(filled)) == len(filled)


def test_tied_parameters_resume() -> None:
    """A model with a tied parameter is restored with the tie and continues with the same bits."""
    section = training(optimizer="Adam", batch_size=4)
    layers: Layers = [
        {"type": "Linear", "in_features": 3, "out_features": 3},
        {"type": "Linear", "in_features": 3, "out_features": 3},
        {"type": "Linear", "in_features": 3, "out_features": 2},
    ]

    def make() -> EagerEngine:
        components = engine(section, layers).components
        assert isinstance(components.model, nn.Sequential)
        components.model[1].weight = components.model[0].weight
        components.optimizer = optim.Adam(components.model.parameters())
        return EagerEngine(components)

    whole = make()
    history, end = run(whole), whole.checkpoint()
    interrupted = make()
    first = interrupted.advance(6)
    assert first is not None
    fresh = restored(interrupted.checkpoint(), make)
    assert fresh.components.model.get_parameter("1.weight") is fresh.components.model.get_parameter(
        "0.weight"
    )
    assert_same_history(HistoryChunk.join([first, run(fresh)]), history)
    assert_same_checkpoint(fresh.checkpoint(), end)
