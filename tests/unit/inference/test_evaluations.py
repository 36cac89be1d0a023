"""Evaluations against the engine and scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]

from service.datasets.dataset import TensorDataset
from service.datasets.samples import Samples
from service.datasets.sources.json import read_json
from service.errors import InvalidRequest
from service.inference import classification
from service.inference.evaluations import evaluate
from service.inference.model import TrainedModel
from service.inference.predictions import SLICE_ROWS
from tests.support.field_errors import refusal
from tests.support.trained import (
    FEATURES,
    IN_ORDER,
    LOG_SOFTMAX,
    NUMBERS,
    SPECIES,
    YES_NO,
    Trained,
    classifier,
    linear,
    prediction,
    table,
    train,
)

NAMES = sorted(set(SPECIES))
COLUMNS_ONLY = {"columns": FEATURES}


def labelled(targets: dict[str, list[Any]]) -> dict[str, Any]:
    """A body of the feature columns and these targets."""
    return {"columns": {**FEATURES, **targets}}


def same(one: float, other: float) -> bool:
    """Return whether two numbers are equal or both NaN."""
    return one == other or (math.isnan(one) and math.isnan(other))


FITS: dict[str, tuple[dict[str, list[Any]], list[dict[str, Any]], dict[str, Any]]] = {
    "regression": (NUMBERS, [linear(2)], {"metrics": ["r2_score", "mean_squared_error"]}),
    "one target": ({"t": NUMBERS["t"]}, [linear(1)], {"loss": "HuberLoss"}),
    "classes": ({"species": SPECIES}, [linear(3)], {"loss": "CrossEntropyLoss", "metrics": ["auroc"]}),
    "weighted": (
        {"species": SPECIES},
        [linear(3)],
        {"loss": "CrossEntropyLoss", "class_weights": dict(zip(NAMES, (1, 2, 30), strict=True))},
    ),
    "smoothed": (
        {"species": SPECIES},
        [linear(3)],
        {"loss": {"type": "CrossEntropyLoss", "label_smoothing": 0.1}, "class_weights": "auto"},
    ),
    "nll": ({"species": SPECIES}, [linear(3), LOG_SOFTMAX], {"loss": "NLLLoss"}),
    "margin": ({"species": SPECIES}, [linear(3)], {"loss": "MultiMarginLoss", "class_weights": "auto"}),
    "binary": ({"t": YES_NO["t"]}, [linear(1)], {"loss": "BCEWithLogitsLoss", "class_weights": {"t": 5}}),
    "two names": (
        {"sex": ["f", "f", "m", "f", "m", "f"]},
        [linear(1)],
        {"loss": "BCEWithLogitsLoss", "class_weights": "auto", "metrics": ["f1_score"]},
    ),
    "multilabel": (YES_NO, [linear(2)], {"loss": "BCEWithLogitsLoss", "metrics": ["accuracy", "auroc"]}),
    "probabilities": (YES_NO, [linear(2), {"type": "Sigmoid"}], {"loss": "BCELoss"}),
    "soft margin": (YES_NO, [linear(2)], {"loss": "MultiLabelSoftMarginLoss"}),
    "indices": ({"t": [0, 1, 0, 1, 0, 1], "u": [-1] * 6}, [linear(2)], {"loss": "MultiLabelMarginLoss"}),
    "dropout": (NUMBERS, [linear(4), {"type": "Dropout"}, linear(2, 4)], {"optimizer": "Adam"}),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("name", FITS)
def test_loss_and_metrics_equal_the_engines(name: str, batch_size: int | None, precision: str) -> None:
    """Loss and metrics equal the engine's on the same rows, bit for bit."""
    targets, layers, training = FITS[name]
    trained = train(table(targets, split=IN_ORDER), layers, precision, batch_size=batch_size, **training)
    expected = trained.trainer.evaluate(trained.prepared.train)
    answer = evaluate(trained.model(), labelled(targets), worst=6)
    assert answer["rows"] == 6
    assert answer["epoch"] == 5
    assert answer["loss"] == expected.loss
    for metric, value in expected.metrics.items():
        assert same(answer["metrics"][metric], value), metric
    assert answer["metrics"].keys() == expected.metrics.keys() or not expected.metrics


@pytest.mark.parametrize("name", [name for name in FITS if name not in ("weighted", "smoothed")])
def test_the_loss_is_the_mean_of_the_losses_of_rows(name: str) -> None:
    """The loss is the mean of the losses of all rows, which come in descending order."""
    targets, layers, training = FITS[name]
    trained = train(table(targets, split=IN_ORDER), layers, **training)
    answer = evaluate(trained.model(), labelled(targets), worst=1000)
    losses = [each["loss"] for each in answer["worst"]]
    assert losses == sorted(losses, reverse=True)
    assert sorted(each["row"] for each in answer["worst"]) == [*range(6)]
    assert sum(losses) / 6 == pytest.approx(answer["loss"], rel=1e-6)


def test_the_loss_of_a_row_includes_its_class_weight() -> None:
    """The sum of weighted losses divided by the sum of weights is the loss, as in PyTorch."""
    weights = dict(zip(NAMES, (1.0, 2.0, 30.0), strict=True))
    trained = classifier(class_weights=weights)
    answer = evaluate(trained.model(), labelled({"species": SPECIES}), worst=6)
    total = sum(weights[label] for label in SPECIES)
    assert sum(each["loss"] for each in answer["worst"]) / total == pytest.approx(answer["loss"], rel=1e-6)


def test_the_worst_rows_contain_their_predictions() -> None:
    """Each worst row has its number, its target and its prediction."""
    trained = classifier()
    body = labelled({"species": SPECIES})
    predictions = prediction(trained.model(), body)
    worst = evaluate(trained.model(), body, worst=2)["worst"]
    assert len(worst) == 2
    for each in worst:
        row = each["row"]
        assert each["target"] == SPECIES[row]
        assert each["label"] == predictions["labels"][row]
        assert each["output"] == predictions["outputs"][row]
        assert each["probabilities"] == predictions["probabilities"][row]
        own = -math.log(each["probabilities"][NAMES.index(SPECIES[row])])
        assert each["loss"] == pytest.approx(own, rel=1e-4)


def test_values_are_in_the_targets_units() -> None:
    """Targets and outputs of a regression are in the units of the data, although training scales them."""
    transforms = [{"columns": ["t", "u"], "type": "standardize"}]
    trained = train(table(NUMBERS, transforms=transforms), [linear(2)])
    outputs = prediction(trained.model(), labelled({}))["outputs"]
    for each in evaluate(trained.model(), labelled(NUMBERS), worst=6)["worst"]:
        row = each["row"]
        assert each["target"] == pytest.approx([NUMBERS["t"][row], NUMBERS["u"][row]], rel=1e-5)
        assert each["output"] == outputs[row]
        assert each.keys() == {"row", "loss", "target", "output"}


def test_of_equal_losses_the_first_rows_come_first() -> None:
    """Rows of equal loss keep their order, across slices too."""
    trained = train(table({"t": NUMBERS["t"]}), [linear(1)])
    count = SLICE_ROWS + 5
    body = {"columns": {"a": [1.0] * count, "b": [2.0] * count, "t": [3.0] * count}}
    worst = evaluate(trained.model(), body, worst=7)["worst"]
    assert [each["row"] for each in worst] == [*range(7)]


def test_no_worst_rows_may_be_requested() -> None:
    """With `worst` 0 no rows are reported."""
    assert evaluate(classifier().model(), labelled({"species": SPECIES}), worst=0)["worst"] == []


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_the_confusion_matrix_is_scikit_learns(loss: str) -> None:
    """Rows are actual and columns predicted classes in ascending order, including classes without rows."""
    model = classifier(loss, epochs=1).model()
    for species in (SPECIES, ["versicolor"] * 6):
        answer = evaluate(model, labelled({"species": species}), worst=0)["confusion_matrix"]
        predicted = prediction(model, labelled({}))["labels"]
        expected = sklearn_metrics.confusion_matrix(species, predicted, labels=NAMES)
        assert answer == {"classes": NAMES, "matrix": expected.tolist()}


@pytest.mark.parametrize("width", [1, 2])
def test_binary_targets_have_a_matrix_each(width: int) -> None:
    """One target of 0 and 1 has one matrix; several have one each, under the names of the targets."""
    targets = dict(list(YES_NO.items())[:width])
    model = train(table(targets), [linear(width)], loss="BCEWithLogitsLoss", epochs=1).model()
    answer = evaluate(model, labelled(targets), worst=0)["confusion_matrix"]
    predicted = prediction(model, labelled({}))["labels"]
    actual = [list(row) for row in zip(*targets.values(), strict=True)]
    expected = [
        sklearn_metrics.confusion_matrix(
            [row[index] for row in actual], [row[index] for row in predicted], labels=[0, 1]
        ).tolist()
        for index in range(width)
    ]
    if width == 1:
        assert answer == {"classes": [0, 1], "matrix": expected[0]}
    else:
        assert answer == {"classes": ["t", "u"], "matrix": expected}


@pytest.mark.parametrize("labels", [("f", "m"), (False, True)])
def test_two_class_names_have_one_matrix(labels: tuple[Any, Any]) -> None:
    """A target of two class names has a matrix and worst rows with these names."""
    targets = {"t": [labels[value] for value in YES_NO["t"]]}
    model = train(table(targets), [linear(1)], loss="BCEWithLogitsLoss", epochs=1).model()
    answer = evaluate(model, labelled(targets), worst=6)
    predicted = prediction(model, labelled({}))["labels"]
    expected = sklearn_metrics.confusion_matrix(targets["t"], predicted, labels=[*labels])
    assert answer["confusion_matrix"] == {"classes": [*labels], "matrix": expected.tolist()}
    for each in answer["worst"]:
        assert (each["target"], each["label"]) == (targets["t"][each["row"]], predicted[each["row"]])
        own = -math.log(each["probabilities"][labels.index(each["target"])])
        assert each["loss"] == pytest.approx(own, rel=1e-4)


def test_too_many_classes_have_no_matrix() -> None:
    """Above `MAX_CLASSES` classes no confusion matrix is computed."""
    rows = classification.MAX_CLASSES + 1
    data = {"inputs": [[0.0, 0.0]] * rows, "targets": [*range(rows)]}
    model = train(data, [linear(rows)], loss="CrossEntropyLoss", epochs=1).model()
    assert evaluate(model, data, worst=0)["confusion_matrix"] is None


def test_numbers_have_no_matrix() -> None:
    """A regression has no confusion matrix."""
    model = train(table(NUMBERS), [linear(2)]).model()
    assert evaluate(model, labelled(NUMBERS), worst=0)["confusion_matrix"] is None


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("dropout", {"mean_absolute_error", "r2_score"}),
        ("nll", {"accuracy", "f1_score"}),
        ("binary", {"accuracy", "auroc"}),
        ("probabilities", {"accuracy", "f1_score"}),
        ("multilabel", {"accuracy", "auroc"}),
    ],
)
def test_without_metrics_of_its_own_a_job_has_the_usual_ones(name: str, metrics: set[str]) -> None:
    """Without metrics of its own, a job is evaluated with the usual metrics of its task."""
    targets, layers, training = FITS[name]
    answer = evaluate(train(table(targets), layers, **training).model(), labelled(targets), worst=0)
    assert answer["metrics"].keys() == metrics


def test_tensors_of_any_shape_are_evaluated() -> None:
    """Targets of more than two dimensions have a loss, metrics and worst rows."""
    data = {"inputs": [[[0.5], [1.0]], [[1.5], [2.0]]], "targets": [[[1.0], [2.0]], [[3.0], [4.0]]]}
    model = train(data, [linear(1, 1)]).model()
    answer = evaluate(model, data, worst=1)
    errors = torch.tensor(prediction(model, {"inputs": data["inputs"]})["outputs"]) - torch.tensor(
        data["targets"]
    )
    assert answer["loss"] == pytest.approx(errors.square().mean().item())
    assert answer["metrics"]["mean_absolute_error"] == pytest.approx(errors.abs().mean().item())
    assert answer["metrics"]["r2_score"] == pytest.approx(
        sklearn_metrics.r2_score(
            torch.tensor(data["targets"]).flatten(1).numpy(),
            (errors + torch.tensor(data["targets"])).flatten(1).numpy(),
        ),
        rel=1e-4,
    )


def test_a_metric_without_a_value_is_nan() -> None:
    """R² of one row and AUROC of one class are NaN; other metrics are not affected."""
    one = evaluate(
        train(table(NUMBERS), [linear(2)]).model(), {"rows": [{"a": 1, "b": 2, "t": 3, "u": 4}]}, 1
    )
    assert math.isnan(one["metrics"]["r2_score"])
    assert math.isfinite(one["metrics"]["mean_absolute_error"])
    model = train(table({"t": YES_NO["t"]}), [linear(1)], loss="BCEWithLogitsLoss").model()
    ones = evaluate(model, labelled({"t": [1] * 6}), worst=0)
    assert math.isnan(ones["metrics"]["auroc"])
    assert 0 <= ones["metrics"]["accuracy"] <= 1
    assert sum(ones["confusion_matrix"]["matrix"][0]) == 0


def test_equal_targets_have_scikit_learns_r2() -> None:
    """R² of equal targets is 0, or 1 for predictions without error, as in scikit-learn."""
    model = train(table({"t": NUMBERS["t"]}), [linear(1)]).model()
    answer = evaluate(model, labelled({"t": [3.0] * 6}), worst=0)
    outputs = [value for (value,) in prediction(model, labelled({}))["outputs"]]
    assert answer["metrics"]["r2_score"] == sklearn_metrics.r2_score([3.0] * 6, outputs) == 0.0


def test_a_loss_that_overflows_is_the_worst() -> None:
    """A row whose loss isn't finite comes first; other rows keep their losses."""
    model = train(table({"t": NUMBERS["t"]}), [linear(1)]).model()
    answer = evaluate(model, {"columns": {"a": [1, 3e38, 2], "b": [1, 3e38, 2], "t": [1, 1, 1]}}, worst=3)
    assert not math.isfinite(answer["loss"])
    first, second, third = answer["worst"]
    assert first["row"] == 1
    assert not math.isfinite(first["loss"])
    assert second["loss"] >= third["loss"] > 0


def test_every_form_of_rows_gives_the_same() -> None:
    """Columns in any order, rows, and a stored dataset of the same rows give the same evaluation."""
    model = classifier().model()
    body = labelled({"species": SPECIES, "other": [1] * 6})
    columns = body["columns"]
    expected = evaluate(model, body, worst=3)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    shuffled = {name: columns[name] for name in sorted(columns, reverse=True)}
    for other in ({"rows": rows}, {"columns": shuffled}, read_json(body)):
        assert evaluate(model, other, worst=3) == expected


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"columns": {"a": [1], "b": [2]}}, {"#/columns"}),
        ({"columns": {"a": [1], "species": ["setosa"]}}, {"#/columns"}),
        ({"columns": {"a": [1], "b": [None], "species": ["wild"]}}, {"#/columns/b/0", "#/columns/species/0"}),
        ({"columns": {"a": ["x"], "b": ["y"], "species": ["setosa"]}}, {"#/columns/a/0", "#/columns/b/0"}),
        (
            {"columns": {"a": ["x"], "species": ["wild"]}},
            {"#/columns", "#/columns/a/0", "#/columns/species/0"},
        ),
        ({"columns": {"a": [1], "b": [2], "species": [None]}}, {"#/columns/species/0"}),
        ({"columns": {"a": [1, 2], "b": [2], "species": ["wild", "wild"]}}, {"#/columns/b"}),
        ({"inputs": [[1, 2]]}, {"#"}),
    ],
)
def test_all_errors_are_reported_at_once(body: dict[str, Any], pointers: set[str]) -> None:
    """Errors in inputs and targets are reported together, each once."""
    with pytest.raises(InvalidRequest) as raised:
        evaluate(classifier().model(), body, worst=1)
    found = [error.pointer for error in raised.value.errors]
    assert set(found) == pointers
    assert len(found) == len(pointers)


WIDTH = 2**18  # 64 samples of this many float32 are evaluated at once
MANY = 150


@pytest.fixture(scope="module")
def wide() -> tuple[Trained, TensorDataset]:
    """A weighted classifier of long samples, and more samples than are evaluated at once."""
    data = {"inputs": [[0] * WIDTH, [1] * WIDTH], "targets": [0, 1]}
    weights = {"0": 1, "1": 3}
    trained = train(data, [linear(2, WIDTH)], loss="CrossEntropyLoss", class_weights=weights, epochs=1)
    generator = np.random.default_rng(0)
    inputs, targets = generator.integers(2, size=(MANY, WIDTH)) > 0, generator.integers(2, size=MANY)
    return trained, TensorDataset({"input": inputs}, targets)


def test_many_rows_are_evaluated_in_slices(wide: tuple[Trained, TensorDataset]) -> None:
    """Over several slices, the loss equals the engine's, every row counts, and the worst rows are found."""
    trained, data = wide
    model = trained.model()
    part = Samples((torch.tensor(data.inputs["input"]).float(),), torch.tensor(data.targets))
    answer = evaluate(model, data, worst=MANY)
    assert answer["rows"] == MANY
    assert answer["loss"] == trained.trainer.evaluate(part).loss
    losses = {each["row"]: each["loss"] for each in answer["worst"]}
    assert [*losses.values()] == sorted(losses.values(), reverse=True)
    assert sorted(losses) == [*range(MANY)]
    predicted = prediction(model, TensorDataset(data.inputs))["labels"]
    expected = sklearn_metrics.confusion_matrix(data.targets, predicted)
    assert answer["confusion_matrix"]["matrix"] == expected.tolist()
    few = evaluate(model, data, worst=5)["worst"]
    assert few == answer["worst"][:5]


def test_errors_of_all_slices_are_reported(wide: tuple[Trained, TensorDataset]) -> None:
    """Errors in rows of different slices are reported at once."""
    trained, data = wide
    assert data.targets is not None
    wrong = data.targets.copy()
    wrong[0], wrong[-1] = 7, 8
    with pytest.raises(InvalidRequest) as raised:
        evaluate(trained.model(), TensorDataset(data.inputs, wrong), worst=1)
    (detail,) = [error.detail for error in raised.value.errors]
    assert "row 0 is 7" in detail
    assert f"The same is wrong in row {MANY - 1}." in detail


@pytest.mark.parametrize(
    ("loss", "good", "bad"),
    [
        ("BCELoss", [0, 1, 0, 1, 0, 1], 2),
        ("BCEWithLogitsLoss", [0, 1, 0, 1, 0, 1], 5),
        ("HingeEmbeddingLoss", [-1, 1, -1, 1, -1, 1], 0),
        ("KLDivLoss", [1] * 6, 0.5),
        ("MultiLabelMarginLoss", [0, -1, 0, -1, 0, -1], 1),
        ("MultiLabelSoftMarginLoss", [0, 1, 0, 1, 0, 1], 0.5),
        ("PoissonNLLLoss", [0, 1, 2, 1, 0, 1], -1),
        ("SoftMarginLoss", [-1, 1, -1, 1, -1, 1], 3),
    ],
)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
def test_targets_keep_the_rules_of_the_training(loss: str, good: list[float], bad: float) -> None:
    """Targets that a job would refuse are refused, with a pointer to the first cell."""
    last = {"KLDivLoss": [LOG_SOFTMAX], "BCELoss": [{"type": "Sigmoid"}]}.get(loss, [])
    model = train(table({"t": good}), [linear(1), *last], loss=loss).model()
    evaluate(model, labelled({"t": good}), worst=1)
    wrong = {"t": [*good[:4], bad, bad]}
    rows = [
        dict(zip(("a", "b", "t"), row, strict=True))
        for row in zip(*FEATURES.values(), wrong["t"], strict=True)
    ]
    for body, pointer in ((labelled(wrong), "#/columns/t/{}"), ({"rows": rows}, "#/rows/{}/t")):
        for sent in (body, read_json(body)):
            found = refusal(lambda sent=sent: evaluate(model, sent, worst=1))
            if sent is body:
                assert found.keys() == {pointer.format(4)}
            assert all(f"`{loss}` needs" in detail for detail in found.values())


def test_metrics_of_a_classification_need_0_and_1() -> None:
    """Targets between 0 and 1 are evaluated, unless the job has metrics of a classification."""
    body = labelled({"t": [0.5, 0, 1, 0, 1, 1]})
    for metrics, refused in ((["accuracy"], True), ([], False)):
        targets = {"t": YES_NO["t"]}
        model = train(table(targets), [linear(1)], loss="BCEWithLogitsLoss", metrics=metrics).model()
        if refused:
            found = refusal(lambda model=model: evaluate(model, body, worst=1))
            assert "targets that are 0 or 1" in found["#/columns/t/0"]
        else:
            evaluate(model, body, worst=1)


@pytest.mark.parametrize(
    ("targets", "loss"),
    [({"t": NUMBERS["t"]}, "MSELoss"), ({"species": SPECIES}, "CrossEntropyLoss")],
)
def test_a_missing_target_is_left_out_by_the_client(targets: dict[str, list[Any]], loss: str) -> None:
    """The remedy for a missing target is to leave the row out, not a transform."""
    (name,) = targets
    model = train(table(targets), [linear(3 if name == "species" else 1)], loss=loss).model()
    found = refusal(
        lambda: evaluate(model, labelled({name: [targets[name][0], None, *targets[name][2:]]}), 1)
    )
    assert found == {f"#/columns/{name}/1": f"`{name}` in row 1 is missing: leave the row out."}


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """A regression of one target."""
    return train(table({"t": NUMBERS["t"]}), [linear(1)]).model()


small = st.floats(-100, 100, width=32)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(small, small, small), min_size=1, max_size=30), worst=st.integers(0, 40))
def test_any_rows_equal_a_loop(
    model: TrainedModel, rows: list[tuple[float, float, float]], worst: int
) -> None:
    """For any rows, loss and worst rows equal those of a loop over single rows."""
    a, b, t = (list(values) for values in zip(*rows, strict=True))
    body = {"columns": {"a": a, "b": b, "t": t}}
    answer = evaluate(model, body, worst)
    outputs = [value for (value,) in prediction(model, body)["outputs"]]
    errors = [(output - target) ** 2 for output, target in zip(outputs, t, strict=True)]
    assert answer["loss"] == pytest.approx(sum(errors) / len(errors), rel=1e-4, abs=1e-6)
    shown = [each["loss"] for each in answer["worst"]]
    assert shown == pytest.approx(sorted(errors, reverse=True)[:worst], rel=1e-4, abs=1e-4)


WEIGHTS = [1.0, 0.0, 2.0, 0.5, 1.0, 3.0]


@pytest.mark.parametrize("form", ["columns", "dataset"])
def test_weights_count_if_they_are_sent(form: str) -> None:
    """The loss is Σ w l / Σ w with the column of weights, and the mean without; metrics take no weights."""
    data = table({"t": NUMBERS["t"]}, split=IN_ORDER, weights="w")
    model = train({**data, "columns": {**data["columns"], "w": WEIGHTS}}, [linear(1)]).model()
    body = labelled({"t": NUMBERS["t"]})
    errors = torch.tensor(prediction(model, COLUMNS_ONLY)["outputs"])[:, 0] - torch.tensor(NUMBERS["t"])
    sent = {"columns": {**body["columns"], "w": WEIGHTS}}
    weighted = evaluate(model, sent if form == "columns" else read_json(sent), worst=1)
    unweighted = evaluate(model, body, worst=1)
    assert weighted["loss"] == pytest.approx(np.average(errors**2, weights=WEIGHTS), rel=1e-5)
    assert unweighted["loss"] == pytest.approx(float((errors**2).mean()), rel=1e-5)
    assert weighted["metrics"] == unweighted["metrics"]
    assert weighted["worst"] == unweighted["worst"]


def test_invalid_weights_of_an_evaluation() -> None:
    """Negative weights are refused by their cell, and weights that are all 0."""
    data = table({"t": NUMBERS["t"]}, split=IN_ORDER, weights="w")
    model = train({**data, "columns": {**data["columns"], "w": WEIGHTS}}, [linear(1)]).model()
    for weights, pointer in (([1, -1, 1, 1, 1, 1], "#/columns/w/1"), ([0] * 6, "#/columns/w")):
        with pytest.raises(InvalidRequest) as raised:
            evaluate(model, labelled({"t": NUMBERS["t"], "w": weights}), worst=0)
        assert [error.pointer for error in raised.value.errors] == [pointer]


def test_weights_of_tensors_are_beside_inputs() -> None:
    """The weights of tensors are sent as `weights`."""
    body = {"inputs": [[1.0, 3.0], [2.0, 1.0]], "targets": [[1.0], [5.0]], "weights": [1.0, 3.0]}
    model = train(body, [linear(1)]).model()
    outputs = torch.tensor(prediction(model, {"inputs": body["inputs"]})["outputs"])
    squares = (outputs - torch.tensor(body["targets"])).square().flatten()
    expected = float((squares * torch.tensor([1, 3])).sum() / 4)
    assert evaluate(model, body, worst=0)["loss"] == pytest.approx(expected)
    with pytest.raises(InvalidRequest) as raised:
        evaluate(model, {**body, "weights": [1, -1]}, worst=0)
    assert [error.pointer for error in raised.value.errors] == ["#/weights"]


def test_missing_targets_are_left_out() -> None:
    """Loss, metrics, confusion matrices and the losses of rows are those of present targets."""
    t, u = [0, None, 0, 1, None, 1], [1, 0, None, 0, None, 0]
    data = table({"t": t, "u": u}, split=IN_ORDER, missing_targets="mask")
    model = train(data, [linear(2)], loss="BCEWithLogitsLoss").model()
    result = evaluate(model, labelled({"t": t, "u": u}), worst=6)
    outputs = torch.tensor(prediction(model, COLUMNS_ONLY)["outputs"])
    targets = torch.tensor([[math.nan if y is None else y for y in row] for row in zip(t, u, strict=True)])
    present = ~targets.isnan()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs[present], targets[present])
    assert result["loss"] == pytest.approx(loss.item(), rel=1e-5)
    decided = outputs > 0
    assert result["metrics"]["accuracy"] == pytest.approx((decided == targets)[present].float().mean().item())
    assert np.array(result["confusion_matrix"]["matrix"]).sum(axis=(1, 2)).tolist() == [4, 4]
    last = result["worst"][-1]
    assert (last["row"], last["loss"]) == (4, 0.0)
    assert last["target"] == [None, None]


def test_targets_must_not_all_be_missing() -> None:
    """An evaluation without any target is refused."""
    data = table({"t": NUMBERS["t"]}, split=IN_ORDER, missing_targets="mask")
    model = train(data, [linear(1)]).model()
    with pytest.raises(InvalidRequest) as raised:
        evaluate(model, labelled({"t": [None] * 6}), worst=0)
    assert "all targets are missing" in raised.value.errors[0].detail


def test_rows_that_the_training_drops_are_dropped() -> None:
    """Rows without a value in a column of `drop_rows` are left out, as in the training, and counted."""
    columns = {
        "a": [*FEATURES["a"], None, 1.0],
        "b": [*FEATURES["b"], 2.0, 1.0],
        "t": [*NUMBERS["t"], 7, None],
    }
    drop = {"type": "drop_rows", "columns": ["a", "t"]}
    section = {"columns": columns, "features": ["a", "b"], "targets": ["t"], "transforms": [drop]}
    model = train(section, [linear(1)]).model()
    complete = evaluate(model, labelled({"t": NUMBERS["t"]}), worst=2)
    assert (complete["rows"], complete["dropped"]) == (6, 0)
    for body in ({"columns": columns}, read_json({"columns": columns})):
        assert evaluate(model, body, worst=2) == {**complete, "dropped": 2}
    missing = {"columns": {"a": [None, 1.0], "b": [2.0, 1.0], "t": [7, None]}}
    with pytest.raises(InvalidRequest) as raised:
        evaluate(model, missing, worst=2)
    assert "`drop_rows` of the job drops all of the 2 rows" in raised.value.errors[0].detail
    other = {"columns": {"a": [1.0], "b": [None], "t": [7.0]}}  # `b` is no column of `drop_rows`
    with pytest.raises(InvalidRequest, match="1 error"):
        evaluate(model, other, worst=2)


def test_rows_are_dropped_before_windows_are_made() -> None:
    """A window never has a row that is dropped."""
    columns = {"o": [1, 2, 3, 4, 5, 6], "x": [1.0, 2.0, None, 4.0, 5.0, 6.0]}
    drop, window = {"type": "drop_rows", "columns": ["x"]}, {"type": "window", "order": "o", "lags": 2}
    section = {"columns": columns, "features": ["x"], "targets": ["x"], "transforms": [drop, window]}
    model = train(section, [{"type": "Flatten"}, linear(1)]).model()
    answer = evaluate(model, {"columns": columns}, worst=3)
    assert (answer["rows"], answer["dropped"]) == (3, 1)
    assert sorted(each["row"] for each in answer["worst"]) == [1, 3, 4]


def test_targets_must_not_all_be_ignored() -> None:
    """An evaluation of rows that the loss ignores is refused, since it has no loss."""
    data = table({"y": [0, 1, 2, 2, 1, 0]}, split=IN_ORDER)
    model = train(data, [linear(3)], loss={"type": "CrossEntropyLoss", "ignore_index": 2}).model()
    with pytest.raises(InvalidRequest) as raised:
        evaluate(model, {"columns": {"a": [1.0], "b": [2.0], "y": [2]}}, worst=0)
    (error,) = raised.value.errors
    assert (error.pointer, "All targets are 2, which is no class" in error.detail) == ("#/columns/y", True)


def test_the_worst_rows_have_their_ids() -> None:
    """The worst rows repeat the ids that were sent."""
    data = table({"t": NUMBERS["t"]}, split=IN_ORDER, id=["code"])
    codes = ["00a", "00b", "1", "2", "3", "4"]
    model = train({**data, "columns": {**data["columns"], "code": codes}}, [linear(1)]).model()
    result = evaluate(model, labelled({"t": NUMBERS["t"], "code": codes}), worst=6)
    assert [row["ids"]["code"] for row in result["worst"]] == [codes[row["row"]] for row in result["worst"]]
    assert "ids" not in evaluate(model, labelled({"t": NUMBERS["t"]}), worst=1)["worst"][0]


def test_reports_leave_out_missing_targets() -> None:
    """Counts, curves, figures per class and residuals equal those of the rows with a target."""
    known = [0, 2, 3, 5]
    masked = {"split": IN_ORDER, "missing_targets": "mask"}
    for loss, t in (
        ("BCEWithLogitsLoss", ["n", None, "y", "y", None, "n"]),
        ("MSELoss", [1, None, 3, 5, None, 2]),
    ):
        model = train(table({"t": t}, **masked), [linear(1)], loss=loss).model()
        result = evaluate(model, labelled({"t": t}), worst=6, curves=True)
        columns = {name: [values[row] for row in known] for name, values in {**FEATURES, "t": t}.items()}
        right = evaluate(model, {"columns": columns}, worst=6, curves=True)
        for report in ("loss", "confusion_matrix", "per_class", "curves", "residuals"):
            assert result[report] == (right[report] if report != "loss" else pytest.approx(right["loss"]))
        targets = {row["row"]: row["target"] for row in result["worst"]}
        assert [targets[row] for row in known] == [x if isinstance(x, str) else [x] for x in columns["t"]]


def test_curves_of_a_target_that_is_missing_in_every_row() -> None:
    """A target without values has no curves; the others have theirs."""
    data = table(YES_NO, split=IN_ORDER, missing_targets="mask")
    model = train(data, [linear(2)], loss="BCEWithLogitsLoss").model()
    names = list(YES_NO)
    body = labelled({names[0]: YES_NO[names[0]], names[1]: [None] * 6})
    answer = evaluate(model, body, worst=0, curves=True)
    assert [each["class"] for each in answer["curves"]] == names[:1]
