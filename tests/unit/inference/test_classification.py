"""Figures per class, thresholds and curves of evaluations, against scikit-learn."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]

from service.errors import InvalidRequest
from service.inference import classification
from service.inference.classification import _count_by_threshold, _precision_recall, _roc
from service.inference.evaluations import evaluate
from service.inference.model import TrainedModel
from tests.support.trained import (
    FEATURES,
    NUMBERS,
    SPECIES,
    YES_NO,
    classifier,
    linear,
    prediction,
    table,
    train,
)

NAMES = sorted(set(SPECIES))
THRESHOLDED = ["accuracy", "precision", "recall", "f1_score"]


def body(**targets: list[Any]) -> dict[str, Any]:
    """The feature columns and these targets."""
    return {"columns": {**FEATURES, **targets}}


def binary(metrics: list[Any]) -> TrainedModel:
    """A classifier of one target of 0 and 1."""
    data = table({"t": YES_NO["t"]})
    return train(data, [linear(1)], loss="BCEWithLogitsLoss", metrics=metrics).model()


def figures(answer: dict[str, Any]) -> list[list[float]]:
    """Precision, recall, F1 score and support, each by class."""
    names = ("precision", "recall", "f1_score", "support")
    return [[each[name] for each in answer["per_class"]] for name in names]


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_each_class_has_scikit_learns_figures(loss: str) -> None:
    """Precision, recall, F1 score and support of each class are scikit-learn's, also without rows."""
    model = classifier(loss, epochs=1).model()
    for species in (SPECIES, ["versicolor"] * 6):
        answer = evaluate(model, body(species=species), worst=0)
        predicted = prediction(model, body())["labels"]
        expected = sklearn_metrics.precision_recall_fscore_support(
            species, predicted, labels=NAMES, zero_division=0
        )
        assert [each["class"] for each in answer["per_class"]] == NAMES
        np.testing.assert_allclose(figures(answer), expected)
        assert answer["threshold"] is None


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_a_threshold_decides_labels_matrix_figures_and_metrics(threshold: float) -> None:
    """A row is positive from the threshold on, in everything that follows from labels."""
    model = binary([*THRESHOLDED, "auroc"])
    answer = evaluate(model, body(t=YES_NO["t"]), worst=6, threshold=threshold)
    scores = [pair[0] for pair in prediction(model, body())["probabilities"]]
    predicted = [int(np.float32(score) >= np.float32(threshold)) for score in scores]
    assert answer["threshold"] == threshold
    assert {each["row"]: each["label"] for each in answer["worst"]} == {
        row: [label] for row, label in enumerate(predicted)
    }
    matrix = sklearn_metrics.confusion_matrix(YES_NO["t"], predicted, labels=[0, 1])
    assert answer["confusion_matrix"] == {"classes": [0, 1], "matrix": matrix.tolist()}
    expected = sklearn_metrics.precision_recall_fscore_support(
        YES_NO["t"], predicted, labels=[0, 1], zero_division=0
    )
    np.testing.assert_allclose(figures(answer), expected)
    precision, recall, f1, _ = figures(answer)
    assert answer["metrics"] == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(YES_NO["t"], predicted),
            "precision": precision[1],
            "recall": recall[1],
            "f1_score": f1[1],
            "auroc": sklearn_metrics.roc_auc_score(YES_NO["t"], scores),
        }
    )


def test_a_probability_equal_to_the_threshold_is_positive() -> None:
    """A score of a curve, given as the threshold, counts as positive: in labels and metrics alike."""
    model = binary(["accuracy"])
    scores = [pair[0] for pair in prediction(model, body())["probabilities"]]
    for score in scores:
        answer = evaluate(model, body(t=YES_NO["t"]), worst=0, threshold=score)
        predicted = [int(other >= score) for other in scores]
        assert answer["metrics"]["accuracy"] == pytest.approx(
            sklearn_metrics.accuracy_score(YES_NO["t"], predicted)
        )
        assert sum(row[1] for row in answer["confusion_matrix"]["matrix"]) == sum(predicted)


def test_without_a_threshold_metrics_keep_that_of_the_job() -> None:
    """Labels follow from 0.5; a metric with a threshold of its own keeps it, unless one is requested."""
    model = binary([{"type": "accuracy", "threshold": 1.0}])
    answer = evaluate(model, body(t=YES_NO["t"]), worst=0)
    assert answer["threshold"] == 0.5
    assert answer["metrics"]["accuracy"] == 0.5  # nothing is predicted as 1
    requested = evaluate(model, body(t=YES_NO["t"]), worst=0, threshold=0.0)
    assert requested["per_class"][1]["recall"] == 1.0
    assert requested["metrics"]["accuracy"] == 0.5  # everything is


@pytest.mark.parametrize("data", [table({"species": SPECIES}), table(NUMBERS)])
def test_a_threshold_without_a_meaning_is_refused(data: dict[str, Any]) -> None:
    """Of more than two classes the highest score wins, and a regression has no labels."""
    is_class = data["targets"] == ["species"]
    loss = "CrossEntropyLoss" if is_class else "MSELoss"
    model = train(data, [linear(3 if is_class else 2)], loss=loss).model()
    with pytest.raises(InvalidRequest) as raised:
        evaluate(model, {"columns": data["columns"]}, worst=0, threshold=0.4)
    assert [error.pointer for error in raised.value.errors] == ["?threshold"]


def test_curves_of_a_binary_target_are_scikit_learns() -> None:
    """ROC and precision-recall points are scikit-learn's; the threshold of the best F1 reaches it."""
    model = binary(["f1_score"])
    answer = evaluate(model, body(t=YES_NO["t"]), worst=0, curves=True)
    scores = np.float32([pair[0] for pair in prediction(model, body())["probabilities"]])
    (curve,) = answer["curves"]
    assert curve["class"] == 1
    assert_scikit_learns(curve, YES_NO["t"], scores)
    best = curve["best_f1"]
    at_best = evaluate(model, body(t=YES_NO["t"]), worst=0, threshold=best["threshold"])
    assert at_best["metrics"]["f1_score"] == pytest.approx(best["f1_score"])
    every = [sklearn_metrics.f1_score(YES_NO["t"], scores >= score) for score in scores]
    assert best["f1_score"] == pytest.approx(max(every))


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_each_class_has_curves_against_the_others(loss: str) -> None:
    """Several classes have curves one against the rest, of probabilities or of scores."""
    model = classifier(loss).model()
    answer = evaluate(model, body(species=SPECIES), worst=0, curves=True)
    predicted = prediction(model, body())
    scores = np.float32(predicted.get("probabilities", predicted["outputs"]))
    for index, (name, curve) in enumerate(zip(NAMES, answer["curves"], strict=True)):
        assert curve["class"] == name
        assert curve["best_f1"] is None
        assert_scikit_learns(curve, [label == name for label in SPECIES], scores[:, index])


def test_each_of_several_binary_targets_has_curves_and_figures() -> None:
    """Several targets of 0 and 1 have one curve and one line of figures each, under their names."""
    model = train(table(YES_NO), [linear(2)], loss="BCEWithLogitsLoss").model()
    answer = evaluate(model, body(**YES_NO), worst=0, curves=True)
    predicted = prediction(model, body())
    scores = np.float32(predicted["probabilities"])
    for index, (name, values) in enumerate(YES_NO.items()):
        assert answer["curves"][index]["class"] == name
        assert_scikit_learns(answer["curves"][index], values, scores[:, index])
    expected = sklearn_metrics.precision_recall_fscore_support(
        np.array([*YES_NO.values()]).T, np.array(predicted["labels"]), zero_division=0
    )
    assert [each["class"] for each in answer["per_class"]] == [*YES_NO]
    np.testing.assert_allclose(figures(answer), expected)


def test_curves_are_only_computed_on_request() -> None:
    """Without a request, for a regression and for too many classes there are no curves."""
    assert evaluate(classifier().model(), body(species=SPECIES), worst=0)["curves"] is None
    model = train(table(NUMBERS), [linear(2)]).model()
    assert evaluate(model, body(**NUMBERS), worst=0, curves=True)["curves"] is None


def test_two_class_names_have_the_curve_of_the_second() -> None:
    """Of two class names, the curve is that of the second one, and figures have both names."""
    sex = ["f", "f", "m", "f", "m", "f"]
    model = train(table({"sex": sex}), [linear(1)], loss="BCEWithLogitsLoss").model()
    answer = evaluate(model, body(sex=sex), worst=0, curves=True)
    assert [each["class"] for each in answer["per_class"]] == ["f", "m"]
    (curve,) = answer["curves"]
    assert curve["class"] == "m"
    scores = np.float32([second for _, second in prediction(model, body())["probabilities"]])
    assert_scikit_learns(curve, [value == "m" for value in sex], scores)


def assert_scikit_learns(curve: dict[str, Any], positives: Any, scores: Any) -> None:
    """Compare complete curves with scikit-learn's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of curves without positive or negative rows
        fpr, tpr, thresholds = sklearn_metrics.roc_curve(positives, scores)
        precision, recall, levels = sklearn_metrics.precision_recall_curve(positives, scores)
    for name, expected in {"fpr": fpr, "tpr": tpr, "thresholds": thresholds}.items():
        np.testing.assert_allclose(curve["roc"][name], expected)
    for name, expected in {"precision": precision, "recall": recall, "thresholds": levels}.items():
        np.testing.assert_allclose(curve["precision_recall"][name], expected)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_any_scores_have_scikit_learns_curves(rows: list[tuple[int, bool]]) -> None:
    """Equal scores, and rows of one class only, have scikit-learn's points too."""
    scores = np.array([score / 8 for score, _ in rows], np.float32)
    positives = np.array([positive for _, positive in rows])
    counts = _count_by_threshold(scores, positives)
    curve = {"roc": _roc(counts), "precision_recall": _precision_recall(counts)}
    assert_scikit_learns(curve, positives, scores)


def test_long_curves_are_thinned_out() -> None:
    """A long curve keeps its ends and at most `MAX_CURVE_POINTS` points of the complete one."""
    generator = np.random.default_rng(0)
    scores = generator.random(20_000, np.float32)
    positives = generator.random(20_000) < scores
    counts = _count_by_threshold(scores, positives)
    roc, points = _roc(counts), _precision_recall(counts)
    limit = classification.MAX_CURVE_POINTS
    assert len(roc["fpr"]) == len(roc["tpr"]) == len(roc["thresholds"]) == limit
    assert len(points["precision"]) == len(points["recall"]) == len(points["thresholds"]) + 1 == limit
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert (points["recall"][0], points["precision"][-1], points["recall"][-1]) == (1, 1, 0)
    fpr, tpr, _ = sklearn_metrics.roc_curve(positives, scores)
    assert {*zip(roc["fpr"], roc["tpr"], strict=True)} <= {*zip(fpr, tpr, strict=True)}
    area = sklearn_metrics.auc(roc["fpr"], roc["tpr"])
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(positives, scores), abs=1e-3)
