"""R² and explained variance equal scikit-learn's for targets of any mean and scale, also in batches."""

import math
from collections.abc import Iterator

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from service.training.metrics import metric_states, restore_metrics
from service.training.r2_metrics import ExplainedVariance, R2Score
from tests.support.toys import ToyData, column, engine, run, training

COMPARED = {
    R2Score: sklearn_metrics.r2_score,
    ExplainedVariance: sklearn_metrics.explained_variance_score,
}


def targets(mean: float, std: float, rows: int = 500, columns: int = 1) -> Tensor:
    """Draw float32 [rows, columns] from a normal distribution."""
    return mean + std * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def batches(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Divide tensors into batches of 70 rows."""
    return zip(*(tensor.split(70) for tensor in tensors), strict=True)


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1.0), (1e5, 10.0), (-3e6, 1.0), (0.0, 1e-5), (1e20, 1e18), (0.1, 0.0)]
)
@pytest.mark.parametrize("error", [0.0, 0.1, 30.0])
def test_targets_of_any_mean_and_scale(
    name: type[R2Score], columns: int, mean: float, std: float, error: float
) -> None:
    """A large mean or a small deviation costs no precision; for equal targets R² is 0, or 1 without error."""
    true = targets(mean, std, columns=columns)
    predicted = true + error * (std or 1.0) * targets(0.0, 1.0, columns=columns).flip(0)
    metric = name()
    for part in batches(predicted, true):
        metric.update(*part)
    expected = COMPARED[name](true.double().numpy(), predicted.double().numpy())
    assert metric.compute().item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", COMPARED)
def test_restored_states(name: type[R2Score]) -> None:
    """A metric with restored states ends with the value of an uninterrupted one."""
    true = targets(1e5, 10.0)
    whole, first, second = name(), name(), name()
    for position, part in enumerate(batches(true + 3, true)):
        whole.update(*part)
        if position == 2:
            restore_metrics({"r": second}, metric_states({"r": first}))
        (first if position < 2 else second).update(*part)
    assert torch.equal(second.compute(), whole.compute())
    whole.reset()
    whole.update(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]))
    assert whole.compute().item() == pytest.approx(COMPARED[name]([1, 2, 3], [0, 0, 0]))


def test_arguments_mean_what_they_do_in_torchmetrics() -> None:
    """`variance_weighted` weights outputs by their variance; `adjusted` is the number of regressors."""
    true, predicted = targets(0.0, 1.0, columns=2) * torch.tensor([1.0, 5.0]), targets(0.0, 0.5, columns=2)
    weighted, adjusted, too_many = R2Score(0, "variance_weighted"), R2Score(4), R2Score(499)
    for metric in (weighted, adjusted, too_many):
        metric.update(predicted, true)
    expected = sklearn_metrics.r2_score(true, predicted, multioutput="variance_weighted")
    assert weighted.compute().item() == pytest.approx(expected)
    plain = sklearn_metrics.r2_score(true, predicted)
    assert adjusted.compute().item() == pytest.approx(1 - (1 - plain) * 499 / 495)
    with pytest.raises(ValueError, match=r"at least two samples, and more than `adjusted` \+ 1"):
        too_many.compute()


def test_a_history_has_the_r2_of_its_parameters() -> None:
    """The history's R² of targets far from 0 is scikit-learn's, for training and validation."""
    data = ToyData(targets(0.0, 1.0), targets(1e5, 10.0), targets(1.0, 1.0, 90), targets(1e5, 10.0, 90))
    trainer = engine(training(epochs=1, metrics=["r2_score"]), [LAYER], data)
    with torch.no_grad():
        expected = [
            sklearn_metrics.r2_score(y.double(), trainer.components.model(x).double())
            for x, y in ((data.x_train, data.y_train), (data.x_val, data.y_val))
        ]
    history = run(trainer)
    found = [column(history, f"{split}_r2_score")[0] for split in ("train", "validation")]
    assert found == pytest.approx(expected, rel=1e-5)
    assert not any(map(math.isnan, found))


LAYER = {"type": "Linear", "in_features": 1, "out_features": 1}
