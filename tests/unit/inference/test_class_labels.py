"""Labels of classes in predictions, evaluations and the encoding: always equal in length and order."""

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import nn

from service.datasets.prepare.encoding import IGNORED, Encoding
from service.errors import InvalidRequest
from service.inference.encoding import encoding_document
from service.inference.evaluations import evaluate
from service.inference.predictions import as_csv
from tests.support.trained import FEATURES, IN_ORDER, Trained, linear, prediction, table, train

COLUMNS = {"columns": FEATURES}
NAMES = ["red", "green", "blue"]


def classified(labels: list[Any], outputs: int, loss: Any = "CrossEntropyLoss", **more: Any) -> Trained:
    """Train a classifier of one target column."""
    data = table({"y": labels}, split=IN_ORDER, **more)
    return train(data, [linear(outputs)], loss=loss)


def labelled(trained: Trained, labels: list[Any]) -> dict[str, Any]:
    """Evaluate the training rows with these labels."""
    return evaluate(trained.model(), {"columns": {**FEATURES, "y": labels}}, 6)


def assert_classes_agree(trained: Trained, classes: list[Any], outputs: list[int], labels: list[Any]) -> None:
    """Assert that every answer has the classes in this order, each with the values of its output."""
    model = trained.model()
    answer = prediction(model, COLUMNS)
    raw = torch.tensor(answer["outputs"])[:, outputs]  # [B, k]
    assert answer["classes"] == classes
    assert answer["labels"] == [classes[i] for i in raw.argmax(dim=1).tolist()]
    every = torch.tensor(answer["outputs"]).softmax(dim=1)
    torch.testing.assert_close(torch.tensor(answer["probabilities"]), every[:, outputs])
    head = next(csv.reader(io.StringIO(as_csv(answer, model.encoding).decode())))
    assert head == ["label", *(f"probability_{name}" for name in classes)]
    targets = encoding_document(model)["targets"]
    assert (targets["classes"], targets["outputs"]) == (classes, outputs)
    matrix = labelled(trained, labels)["confusion_matrix"]
    assert matrix["classes"] == classes
    assert len(matrix["matrix"]) == len(matrix["matrix"][0]) == len(classes)


def test_indices_keep_their_outputs() -> None:
    """Targets 0 and 2 of three outputs train the outputs 0 and 2; class 1 is absent."""
    labels = [0, 2, 0, 2, 0, 2]
    trained = classified(labels, 3)
    assert_classes_agree(trained, [0, 1, 2], [0, 1, 2], labels)
    loss_fn = nn.CrossEntropyLoss()
    expected = float(loss_fn(trained.outputs(), torch.tensor(labels)))
    assert labelled(trained, labels)["loss"] == pytest.approx(expected)
    assert labelled(trained, [1] * 6)["loss"] == pytest.approx(
        float(loss_fn(trained.outputs(), torch.tensor([1] * 6)))
    )


def test_text_names_indices() -> None:
    """With names in `classes`, answers have the names, and an evaluation takes the indices."""
    labels = [0, 2, 0, 2, 1, 1]
    trained = classified(labels, 3, classes=NAMES)
    assert_classes_agree(trained, NAMES, [0, 1, 2], labels)
    answer = labelled(trained, labels)
    predicted = prediction(trained.model(), COLUMNS)["labels"]
    expected = confusion_matrix([NAMES[index] for index in labels], predicted, labels=NAMES)
    assert answer["confusion_matrix"]["matrix"] == expected.tolist()
    assert {each["row"]: each["target"] for each in answer["worst"]} == {
        row: NAMES[index] for row, index in enumerate(labels)
    }
    assert encoding_document(trained.model())["targets"]["values"] == [0, 1, 2]


def test_the_listed_order_is_that_of_the_outputs() -> None:
    """Values in `classes` are numbered in their order, also those without rows."""
    labels = ["b", "a", "b", "a", "b", "a"]
    trained = classified(labels, 3, classes=["b", "c", "a"])
    assert_classes_agree(trained, ["b", "c", "a"], [0, 1, 2], labels)


@pytest.mark.parametrize(
    ("labels", "outputs", "classes", "chosen"),
    [
        ([0, 1, 2, 0, 1, 2], 3, [0, 2], [0, 2]),
        ([0, 1, 2, 0, 1, 2], 2, [0, 2], [0, 1]),
        ([5, 1, 7, 5, 1, 7], 2, [5, 7], [0, 1]),
    ],
)
def test_the_ignored_label_is_no_class(
    labels: list[int], outputs: int, classes: list[int], chosen: list[int]
) -> None:
    """Its rows count in neither loss, metrics, confusion matrix nor worst rows of an evaluation."""
    trained = classified(labels, outputs, {"type": "CrossEntropyLoss", "ignore_index": 1})
    assert_classes_agree(trained, classes, chosen, labels)
    answer = labelled(trained, labels)
    encoded = [dict(zip(classes, chosen, strict=True)).get(label, IGNORED) for label in labels]
    expected = nn.CrossEntropyLoss()(trained.outputs(), torch.tensor(encoded))
    assert answer["loss"] == pytest.approx(float(expected))
    counted = [row for row, label in enumerate(labels) if label != 1]
    predicted = [prediction(trained.model(), COLUMNS)["labels"][row] for row in counted]
    true = [labels[row] for row in counted]
    assert answer["confusion_matrix"]["matrix"] == confusion_matrix(true, predicted, labels=classes).tolist()
    assert {each["row"] for each in answer["worst"]} == set(counted)
    assert answer["rows"] == len(labels)
    if outputs == 2:  # with an output for the ignored label, its scores count as a wrong prediction
        assert answer["metrics"]["accuracy"] == pytest.approx(accuracy_score(true, predicted))


def test_names_leave_out_the_ignored_index() -> None:
    """Names are as many as outputs; that of the ignored index appears in no answer."""
    labels = [0, 1, 2, 0, 1, 2]
    loss = {"type": "CrossEntropyLoss", "ignore_index": 0}
    trained = classified(labels, 3, loss, classes=NAMES)
    assert_classes_agree(trained, ["green", "blue"], [1, 2], labels)


def test_an_evaluation_of_ignored_rows_is_refused() -> None:
    """Rows that are all ignored have no loss, and the error says why."""
    trained = classified([0, 1, -100, 0, 1, 0], 2)
    with pytest.raises(InvalidRequest) as refused:
        labelled(trained, [-100] * 6)
    assert "-100" in refused.value.errors[0].detail


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([1, 2, 1, 2, 2, 1], [2, 1]), ([0, 1, 0, 1, 1, 0], ["no", "yes"]), ([True, False] * 3, [True, False])],
)
def test_two_classes_of_a_binary_loss(labels: list[Any], classes: list[Any]) -> None:
    """`classes` of a binary loss is the label for 0, then that for 1."""
    trained = classified(labels, 1, "BCEWithLogitsLoss", classes=classes)
    model = trained.model()
    answer = prediction(model, COLUMNS)
    second = trained.outputs().sigmoid()[:, 0]
    assert answer["classes"] == classes
    assert answer["labels"] == [classes[int(p >= 0.5)] for p in second.tolist()]
    values = list(model.encoding.values_by_class)
    targets = torch.tensor([[float(values.index(label))] for label in labels])
    expected = nn.BCEWithLogitsLoss()(trained.outputs(), targets)
    assert labelled(trained, labels)["loss"] == pytest.approx(float(expected))


def test_several_columns_of_two_labels() -> None:
    """Each column of text or booleans has its own labels; columns of numbers have 0 and 1."""
    targets: dict[str, list[Any]] = {
        "p": ["yes", "no", "yes", "no", "yes", "no"],
        "q": [True, True, False, False, True, False],
        "r": [0, 1, 1, 0, 1, 0],
    }
    trained = train(table(targets, split=IN_ORDER), [linear(3)], loss="BCEWithLogitsLoss")
    model = trained.model()
    encoded = torch.tensor([[1.0, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert torch.equal(trained.prepared.train.targets, encoded)
    answer = prediction(model, COLUMNS)
    probable = (trained.outputs().sigmoid() >= 0.5).long().tolist()
    pairs = [["no", "yes"], [False, True], [0, 1]]
    assert answer["classes"] == ["p", "q", "r"]
    assert answer["labels"] == [[pair[n] for pair, n in zip(pairs, row, strict=True)] for row in probable]
    rows = list(csv.DictReader(io.StringIO(as_csv(answer, model.encoding).decode())))
    assert [row["label_p"] for row in rows] == [row[0] for row in answer["labels"]]
    assert {row["label_q"] for row in rows} <= {"true", "false"}
    evaluation = evaluate(model, {"columns": {**FEATURES, **targets}}, 6)
    expected = nn.BCEWithLogitsLoss()(trained.outputs(), encoded)
    assert evaluation["loss"] == pytest.approx(float(expected))
    by_row = {each["row"]: each["target"] for each in evaluation["worst"]}
    assert by_row[0] == ["yes", True, 0]
    for column, matrix in enumerate(evaluation["confusion_matrix"]["matrix"]):
        predicted = [row[column] for row in probable]
        assert matrix == confusion_matrix(encoded[:, column], predicted, labels=[0, 1]).tolist()
    assert encoding_document(model)["targets"]["column_classes"] == {"p": ["no", "yes"], "q": [False, True]}


def test_encodings_survive_json_and_earlier_versions() -> None:
    """An encoding is restored from its document; one of an earlier version has sorted classes."""
    trained = classified([0, 1, 2, 0, 1, 2], 3, {"type": "CrossEntropyLoss", "ignore_index": 1})
    encoding = trained.prepared.encoding
    document = encoding.to_document()
    assert Encoding.from_document(document) == encoding
    for name in ("class_values", "class_outputs", "ignored", "column_classes"):
        del document[name]
    old = Encoding.from_document(document)
    assert old == replace(encoding, class_outputs=None, ignored=None)
    assert list(old.outputs_by_class) == [0, 1]
