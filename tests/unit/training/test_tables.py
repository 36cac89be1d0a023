"""The tables of losses, optimizers and schedulers: complete, and each entry trains as in a plain script."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn.modules import loss as torch_losses
from torch.optim import lr_scheduler

from service.specs.job import StopReason
from service.training.losses import LOSSES, REFUSED_LOSSES
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.schedulers import PER_BATCH, REFUSED_SCHEDULERS, SCHEDULERS
from tests.support.toys import (
    MATRIX,
    NET,
    ONE_OUTPUT_LOSSES,
    SCHEDULES,
    assert_equals_script,
    assert_same_history,
    engine,
    fitting,
    matrix,
    net,
    run,
    script,
    training,
)

# PyTorch recommends `batchmean`, which is not the mean over all values of the samples.
KL_ADVICE = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def public_classes(module: Any, base: type) -> set[str]:
    """Return the names of the public subclasses of `base` in a module."""
    return {
        name
        for name, member in vars(module).items()
        if inspect.isclass(member) and issubclass(member, base) and not name.startswith("_")
    }


def test_every_loss_is_supported_or_refused_with_a_reason() -> None:
    """Every loss of torch.nn is either supported or refused with a reason."""
    losses = {name for name in public_classes(nn, nn.Module) if name.endswith(("Loss", "Loss2d"))}
    declared = {name for name in torch_losses.__all__ if hasattr(nn, name)}
    ours = {"CoxPHLoss", "PinballLoss", "expression"}
    assert losses | declared | ours == LOSSES.keys() | REFUSED_LOSSES.keys() - _ABSENT
    assert not LOSSES.keys() & REFUSED_LOSSES.keys()


# Refused losses that this version of PyTorch doesn't have.
_ABSENT = {name for name in REFUSED_LOSSES if not hasattr(nn, name)}


def test_every_optimizer_is_supported_or_refused_with_a_reason() -> None:
    """Every optimizer of torch.optim is either supported or refused with a reason."""
    assert public_classes(optim, optim.Optimizer) == OPTIMIZERS.keys() | REFUSED_OPTIMIZERS.keys()
    assert not OPTIMIZERS.keys() & REFUSED_OPTIMIZERS.keys()


def test_every_scheduler_is_supported_or_refused_with_a_reason() -> None:
    """Every scheduler of torch.optim.lr_scheduler is either supported or refused with a reason."""
    classes = public_classes(lr_scheduler, lr_scheduler.LRScheduler)
    assert classes == SCHEDULERS.keys() | REFUSED_SCHEDULERS.keys()
    assert not SCHEDULERS.keys() & REFUSED_SCHEDULERS.keys()
    assert set(PER_BATCH) <= SCHEDULERS.keys()


@KL_ADVICE
@pytest.mark.parametrize("name", ONE_OUTPUT_LOSSES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_loss_trains(name: str, precision: str) -> None:
    """A model that fits the loss trains two epochs with finite losses, in both precisions."""
    layers, data = fitting(name)
    trainer = engine(training(loss=name, epochs=2, batch_size=4), layers, data, precision=precision)
    before = [parameter.detach().clone() for parameter in trainer.components.model.parameters()]
    history = run(trainer)
    assert trainer.stop_reason is StopReason.COMPLETED
    assert history.values.shape[1] == 2
    assert torch.isfinite(torch.tensor(history.values)).all()
    after = trainer.components.model.parameters()
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@KL_ADVICE
@pytest.mark.parametrize("name", ONE_OUTPUT_LOSSES)
def test_every_loss_equals_the_script(name: str) -> None:
    """Each loss gives the history and the parameters of a plain script, with the same bits."""
    layers, data = fitting(name)
    made: dict[str, Callable[[], nn.Module]] = {
        "LogSoftmax": partial(nn.LogSoftmax, dim=1),
        "Sigmoid": nn.Sigmoid,
    }
    trainer = engine(training(loss=name), layers, data)
    cast = LOSSES[name].target_dtype
    if cast is not None:
        data = type(data)(data.x_train, data.y_train.to(cast), data.x_val, data.y_val.to(cast))

    def build() -> nn.Module:
        more = [made[layer["type"]]() for layer in layers[len(NET) :]]
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), *more)

    sgd = partial(optim.SGD, lr=0.05)
    assert_equals_script(trainer, script(build, sgd, data=data, loss_fn=getattr(nn, name)()))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [None, 4])
def test_every_optimizer_equals_the_script(name: str, batch_size: int | None) -> None:
    """Each optimizer with PyTorch's defaults gives the same bits as in a plain script."""
    layers, build = (MATRIX, matrix) if name == "Muon" else (NET, net)
    trainer = engine(training(optimizer=name, batch_size=batch_size), layers)
    assert_equals_script(trainer, script(build, getattr(optim, name), batch_size=batch_size))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resolved_defaults_are_the_optimizers_own(name: str) -> None:
    """An optimizer with all its defaults written out, as a job shows them, gives the same history."""
    layers = MATRIX if name == "Muon" else NET
    resolved = {"type": name, **OPTIMIZERS[name].resolve({})}
    short = run(engine(training(optimizer=name), layers))
    assert_same_history(run(engine(training(optimizer=resolved), layers)), short)


def test_every_scheduler_has_arguments() -> None:
    """The tests have arguments for each supported scheduler."""
    assert SCHEDULES.keys() == SCHEDULERS.keys()


@pytest.mark.parametrize("resolve", [False, True], ids=["short", "resolved"])
@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_equals_the_script(name: str, batch_size: int | None, resolve: bool) -> None:
    """Each scheduler, as sent and with resolved arguments, gives the learning rates of a plain script."""
    arguments = SCHEDULES[name]
    sent = SCHEDULERS[name].resolve(arguments) if resolve else arguments
    optimizer = {"type": "SGD", "lr": 0.05, "momentum": 0.9}
    section = training(optimizer=optimizer, scheduler={"type": name, **sent}, batch_size=batch_size, epochs=8)
    trainer = engine(section)
    more = {"total_steps": 8 if batch_size is None else 24} if name == "OneCycleLR" else {}
    reference = script(
        net,
        partial(optim.SGD, lr=0.05, momentum=0.9),
        partial(getattr(lr_scheduler, name), **arguments, **more),
        steps_per_batch=name in ("OneCycleLR", "CyclicLR"),
        batch_size=batch_size,
        epochs=8,
    )
    assert_equals_script(trainer, reference)
    assert len(set(reference.learning_rate)) > 1
