"""Residuals, and loss and metrics in the units of transformed targets."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]
from torch import nn

from service.inference import residuals
from service.inference.evaluations import evaluate
from tests.support.trained import FEATURES, NUMBERS, linear, prediction, table, train

METRICS = ["mean_absolute_error", "mean_squared_error", "r2_score", "explained_variance"]
TRANSFORMS: dict[str, list[dict[str, Any]]] = {
    "standardize": [{"columns": ["t", "u"], "type": "standardize"}],
    "one of two": [{"columns": ["u"], "type": "minmax"}],
    "log1p": [{"columns": ["t"], "type": "log1p"}, {"columns": ["t", "u"], "type": "standardize"}],
    "scale": [{"columns": ["t", "u"], "type": "scale", "factor": -0.25}],
}


def body(targets: dict[str, Any] = NUMBERS) -> dict[str, Any]:
    """The feature columns and targets."""
    return {"columns": {**FEATURES, **targets}}


def true(targets: dict[str, Any] = NUMBERS) -> Any:
    """The targets, float64 [n, k]."""
    return np.array([*targets.values()]).T


@pytest.mark.parametrize("name", TRANSFORMS)
def test_residuals_are_target_minus_output_in_units(name: str) -> None:
    """Each target has the distribution of its residuals, in its units."""
    trained = train(table(NUMBERS, transforms=TRANSFORMS[name]), [linear(2)])
    answer = evaluate(trained.model(), body(), worst=0)["residuals"]
    errors = true() - np.array(prediction(trained.model(), body())["outputs"])
    for index, (target, each) in enumerate(zip(NUMBERS, answer, strict=True)):
        column = errors[:, index]
        assert each["target"] == target
        assert (each["mean"], each["std"]) == pytest.approx((column.mean(), column.std()), rel=1e-5)
        quartiles = [each[name] for name in ("min", "q25", "median", "q75", "max")]
        np.testing.assert_allclose(quartiles, np.quantile(column, [0, 0.25, 0.5, 0.75, 1]), rtol=1e-5)
        assert sum(each["histogram"]["counts"]) == len(column)
        edges = each["histogram"]["edges"]
        assert len(edges) == residuals.HISTOGRAM_BINS + 1
        assert (edges[0], edges[-1]) == (each["min"], each["max"])


@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss", {"type": "HuberLoss", "delta": 0.5}, "SmoothL1Loss"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_loss_and_metrics_are_computed_in_units(name: str, loss: Any) -> None:
    """`in_target_units` has PyTorch's loss and scikit-learn's metrics of predictions and targets."""
    data = table(NUMBERS, transforms=TRANSFORMS[name])
    model = train(data, [linear(2)], loss=loss, metrics=METRICS).model()
    answer = evaluate(model, body(), worst=0)["in_target_units"]
    outputs = np.array(prediction(model, body())["outputs"])
    arguments = {} if isinstance(loss, str) else {"delta": loss["delta"]}
    loss_fn = getattr(nn, loss if isinstance(loss, str) else loss["type"])(**arguments)
    assert answer["loss"] == pytest.approx(
        loss_fn(torch.from_numpy(outputs), torch.from_numpy(true())).item(), rel=1e-5
    )
    assert answer["metrics"] == pytest.approx(
        {
            "mean_absolute_error": sklearn_metrics.mean_absolute_error(true(), outputs),
            "mean_squared_error": sklearn_metrics.mean_squared_error(true(), outputs),
            "r2_score": sklearn_metrics.r2_score(true(), outputs),
            "explained_variance": sklearn_metrics.explained_variance_score(true(), outputs),
        },
        rel=1e-5,
    )


def test_targets_far_from_0_are_measured_in_double_precision() -> None:
    """The error of seconds since 1970 is exact to a fraction of a second."""
    seconds = [1_700_000_000.0 + 60 * value for value in (0, 3, 1, 4, 2, 5)]
    data = table({"t": seconds}, transforms=[{"columns": ["t"], "type": "standardize"}])
    model = train(data, [linear(1)], metrics=["mean_absolute_error"]).model()
    answer = evaluate(model, body({"t": seconds}), worst=6)
    outputs = [value for (value,) in prediction(model, body({}))["outputs"]]
    error = sklearn_metrics.mean_absolute_error(seconds, outputs)
    assert answer["in_target_units"]["metrics"]["mean_absolute_error"] == pytest.approx(error, rel=1e-5)
    assert [each["target"] for each in answer["worst"]] == [
        [seconds[each["row"]]] for each in answer["worst"]
    ]


def test_values_without_transforms_have_no_other_units() -> None:
    """There are no other units without transforms of targets, and no loss in them without a meaning."""
    model = train(table(NUMBERS), [linear(2)]).model()
    assert "in_target_units" not in evaluate(model, body(), worst=0)
    counts = {name: [abs(value) for value in values] for name, values in NUMBERS.items()}
    data = table(counts, transforms=[{"columns": [*counts], "type": "scale", "factor": 0.5}])
    poisson = evaluate(train(data, [linear(2)], loss="PoissonNLLLoss").model(), body(counts), worst=0)
    assert poisson["in_target_units"].keys() == {"metrics"}
    assert poisson["residuals"] is None


def test_limited_targets_are_compared_with_the_values_that_were_sent() -> None:
    """After `clip`, residuals and worst rows have the real values; figures in units are left out."""
    clip = {"columns": ["u"], "type": "clip", "max": 25.0}
    model = train(table(NUMBERS, transforms=[clip]), [linear(2)], metrics=METRICS).model()
    answer = evaluate(model, body(), worst=6)
    errors = true() - np.array(prediction(model, body())["outputs"])
    np.testing.assert_allclose([each["max"] for each in answer["residuals"]], errors.max(0), rtol=1e-5)
    assert sorted(each["target"] for each in answer["worst"]) == sorted(true().tolist())
    assert "in_target_units" not in answer
    (warning,) = answer["warnings"]
    assert "`clip` of `u` limits its values to at most 25" in warning["detail"]


def test_tensors_have_residuals_in_units() -> None:
    """Transformed tensor targets have residuals of each of their values."""
    data = {
        "inputs": [[0.5, 1.0], [1.5, 2.0], [2.5, 1.0]],
        "targets": [[100.0, 2.0], [300.0, 4.0], [200.0, 1.0]],
        "transforms": [{"columns": ["targets"], "type": "standardize"}],
    }
    model = train(data, [linear(2)]).model()
    answer = evaluate(model, {name: data[name] for name in ("inputs", "targets")}, worst=1)
    errors = np.array(data["targets"]) - prediction(model, {"inputs": data["inputs"]})["outputs"]
    assert [each["target"] for each in answer["residuals"]] == ["output_0", "output_1"]
    np.testing.assert_allclose([each["mean"] for each in answer["residuals"]], errors.mean(0), rtol=1e-5)
    assert answer["in_target_units"]["loss"] == pytest.approx((errors**2).mean(), rel=1e-5)
    assert answer["worst"][0]["target"] == data["targets"][answer["worst"][0]["row"]]


def test_residuals_that_are_not_finite_are_left_out() -> None:
    """Outputs that overflow have no residual; without any finite residual there are no figures."""
    data = table({"t": NUMBERS["t"]}, transforms=[{"columns": ["t"], "type": "log1p"}])
    model = train(data, [linear(1)]).model()
    one = {"columns": {"a": [1, 3e38], "b": [1, 3e38], "t": [1, 1]}}
    assert sum(evaluate(model, one, worst=0)["residuals"][0]["histogram"]["counts"]) == 1
    none = {"columns": {"a": [3e38], "b": [3e38], "t": [1]}}
    (summary,) = evaluate(model, none, worst=0)["residuals"]
    assert np.isnan(summary["mean"])
    assert summary["histogram"] is None
