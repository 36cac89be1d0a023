"""Rows whose label is the loss's `ignore_index`: left out of loss and metrics, as in PyTorch."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn, optim

from service.datasets.prepare.encoding import IGNORED, Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.engines.compiled.engine import CompiledEngine, Group, Member
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from tests.support.outputs import one_output
from tests.support.toys import assert_same_history, column, run, training

CLASSES = 3
EPOCHS = 4
LAYERS = [{"type": "Linear", "in_features": 4, "out_features": CLASSES}]
INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(2))  # [N, 4]
TARGETS = torch.randint(CLASSES, (20,), generator=torch.Generator().manual_seed(3))  # [N]
# The second of three batches of five rows is ignored as a whole, and so are other rows here and there.
TARGETS[[0, 5, 6, 7, 8, 9, 12, 16]] = IGNORED
WEIGHT = torch.tensor([0.5, 2.0, 1.5])
LOSSES: dict[str, tuple[dict[str, Any], nn.Module]] = {
    "CrossEntropyLoss": ({"type": "CrossEntropyLoss", "ignore_index": 7}, nn.CrossEntropyLoss()),
    "label smoothing": (
        {"type": "CrossEntropyLoss", "ignore_index": 7, "label_smoothing": 0.2},
        nn.CrossEntropyLoss(label_smoothing=0.2),
    ),
    "weights": ({"type": "CrossEntropyLoss"}, nn.CrossEntropyLoss(weight=WEIGHT)),
}


def trained(
    name: str, batch_size: int | None, metrics: tuple[str, ...] = ("accuracy",)
) -> tuple[TrainingSpec, Prepared]:
    """Return a training section and data of which 15 rows are training rows."""
    spec = training(
        loss=LOSSES[name][0],
        epochs=EPOCHS,
        batch_size=batch_size,
        shuffle=False,
        optimizer={"type": "SGD", "lr": 0.2, "momentum": 0.9},
        metrics=[*metrics],
        class_weights=dict(zip("012", WEIGHT.tolist(), strict=True)) if name == "weights" else None,
    )
    encoding = Encoding(("input",), ((4,),), (), classes=(0, 1, 2), ignored=7)
    train = Samples((INPUTS[:15],), TARGETS[:15])
    return spec, Prepared(train, Samples((INPUTS[15:],), TARGETS[15:]), None, encoding)


def engine(spec: TrainingSpec, data: Prepared) -> EagerEngine:
    """Return the eager engine before its first step."""
    architecture = read_architecture({"type": "sequential", "layers": LAYERS})
    return EagerEngine(
        assemble(architecture, spec, data, one_output(CLASSES), torch.device("cpu"), "float32")
    )


def script(loss_fn: nn.Module, batch_size: int | None) -> tuple[nn.Module, dict[str, list[float]]]:
    """Train a plain PyTorch loop; the loss of an epoch is the mean over the rows that count."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, CLASSES))
    optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    history: dict[str, list[float]] = {"train_loss": [], "validation_loss": [], "train_accuracy": []}

    def validate() -> float:
        with torch.no_grad():
            return float(loss_fn(model(INPUTS[15:]), TARGETS[15:]))

    for _ in range(EPOCHS):
        total, rows, right = 0.0, 0, 0
        for batch in torch.arange(15).split(batch_size or 15):
            targets = TARGETS[batch]
            outputs = model(INPUTS[batch])
            loss = loss_fn(outputs, targets)
            counted = targets != IGNORED
            if counted.any():  # the loss of a batch without classes is NaN
                total += int(counted.sum()) * loss.item()
            rows += int(counted.sum())
            right += int((outputs.argmax(1) == targets)[counted].sum())
            if batch_size is None:
                history["validation_loss"].append(validate())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        history["train_loss"].append(total / rows)
        history["train_accuracy"].append(right / rows)
        if batch_size is not None:
            history["validation_loss"].append(validate())
    return model, history


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("name", LOSSES)
def test_the_eager_engine_equals_plain_pytorch(name: str, batch_size: int | None) -> None:
    """Parameters and losses have the bits of the script, also with a batch of ignored rows only."""
    trainer = engine(*trained(name, batch_size))
    history = run(trainer)
    model, expected = script(LOSSES[name][1], batch_size)
    for mine, yours in zip(trainer.components.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, yours)
    assert column(history, "validation_loss") == expected["validation_loss"]
    assert column(history, "train_loss") == pytest.approx(expected["train_loss"], rel=1e-12)
    assert column(history, "train_accuracy") == pytest.approx(expected["train_accuracy"], rel=1e-6)


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.parametrize(
    ("name", "batch_size"),
    [
        *((name, 5) for name in LOSSES),
        ("CrossEntropyLoss", None),
        *(
            pytest.param(name, None, marks=pytest.mark.exhaustive)
            for name in LOSSES
            if name != "CrossEntropyLoss"
        ),
    ],
)
def test_the_compiled_engine_equals_plain_pytorch(name: str, batch_size: int | None) -> None:
    """The compiled engine has the same results up to rounding, alone or in a group."""
    programs = ProgramCache()
    alone = CompiledEngine(engine(*trained(name, batch_size)).components, programs)
    history = run(alone)
    model, expected = script(LOSSES[name][1], batch_size)
    state = {f"0.{key}": value for key, value in model[0].state_dict().items()}  # type: ignore[index]
    for key, tensor in alone.checkpoint().last.state.items():
        torch.testing.assert_close(tensor, state[key], rtol=1e-4, atol=1e-5)
    for key, values in expected.items():
        assert column(history, key) == pytest.approx(values, rel=1e-4)
    members = [Member(engine(*trained(name, batch_size)).components, programs) for _ in range(2)]
    for chunk in Group(members, programs).advance(EPOCHS):
        assert chunk is not None
        np.testing.assert_allclose(chunk.values, history.values, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_resumed_epoch_counts_the_same_rows(steps: int) -> None:
    """A training that is interrupted in the middle of an epoch continues with the same history."""
    spec, data = trained("CrossEntropyLoss", 5, ("accuracy", "f1_score"))
    whole = run(engine(spec, data))
    first = engine(spec, data)
    first.advance(steps)
    second = engine(spec, data)
    second.restore(Checkpoint.from_bytes(first.checkpoint().to_bytes()))
    assert_same_history(run(second), whole)


def test_metrics_equal_scikit_learn_without_ignored_rows() -> None:
    """Metrics of the validation rows are those of scikit-learn for the rows that count."""
    trainer = engine(*trained("CrossEntropyLoss", 5, ("accuracy", "f1_score", "auroc")))
    history = run(trainer)
    with torch.no_grad():
        predicted = trainer.components.model(INPUTS[15:]).argmax(dim=1)
    counted = TARGETS[15:] != IGNORED
    true, labels = TARGETS[15:][counted], predicted[counted]
    assert column(history, "validation_accuracy")[-1] == pytest.approx(accuracy_score(true, labels))
    expected = f1_score(true, labels, average="macro", zero_division=0)
    assert column(history, "validation_f1_score")[-1] == pytest.approx(expected)


def test_samples_without_a_class_have_no_value() -> None:
    """The evaluation of ignored rows alone has NaN as loss and metrics."""
    spec, data = trained("CrossEntropyLoss", 5, ("accuracy",))
    ignored = Samples((INPUTS[:2],), torch.full((2,), IGNORED))
    loss, metrics = engine(spec, replace(data, validation=None)).evaluate(ignored)
    assert math.isnan(loss)
    assert math.isnan(metrics["accuracy"])


def test_ignore_index_of_an_earlier_version_is_an_index() -> None:
    """Encodings of earlier versions have no ignored label: the index of the loss stays the client's."""
    spec, data = trained("CrossEntropyLoss", None, ())
    spec = training(loss={"type": "CrossEntropyLoss", "ignore_index": 1})
    old = replace(data, encoding=replace(data.encoding, ignored=None))
    assert engine(spec, old).components.loss_fn.ignore_index == 1
    assert engine(spec, data).components.loss_fn.ignore_index == IGNORED
