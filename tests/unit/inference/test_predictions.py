"""Predictions in the units of the targets, with labels and probabilities if the loss implies them."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from service.datasets.sources.json import read_json
from service.errors import InvalidRequest
from service.inference.answer_file import write_csv, write_json
from service.inference.predictions import SLICE_ROWS, as_csv, predict
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

COLUMNS = {"columns": FEATURES}


def read(body: bytes) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(body.decode())))


def test_values_are_the_modules_outputs() -> None:
    """Without transforms of targets, outputs equal the module's, bit for bit, in the order of the rows."""
    trained = train(table(NUMBERS, split=IN_ORDER), [linear(2)])
    answer = prediction(trained.model(), COLUMNS)
    assert answer == {"epoch": 5, "outputs": trained.outputs().tolist()}


@pytest.mark.parametrize(
    "body",
    [
        COLUMNS,
        {"rows": [{"a": a, "b": b} for a, b in zip(*FEATURES.values(), strict=True)]},
        {"inputs": [list(pair) for pair in zip(*FEATURES.values(), strict=True)]},
    ],
    ids=["columns", "rows", "inputs"],
)
def test_every_form_of_rows_gives_the_same(body: dict[str, Any]) -> None:
    """Columns, rows, raw inputs and a stored dataset of the same rows give the same predictions."""
    data = table(NUMBERS, transforms=[{"columns": ["a"], "type": "standardize"}], split=IN_ORDER)
    trained = train(data, [linear(2)])
    expected = trained.outputs().tolist()
    assert prediction(trained.model(), body)["outputs"] == expected
    assert prediction(trained.model(), read_json(body))["outputs"] == expected


def test_outputs_are_in_the_targets_units() -> None:
    """Transforms of features are applied, and those of targets are inverted."""
    transforms = [
        {"columns": ["a", "u"], "type": "standardize"},
        {"columns": ["t"], "type": "minmax"},
        {"columns": ["t"], "type": "scale", "factor": 4.0},
    ]
    trained = train(table(NUMBERS, transforms=transforms, split=IN_ORDER), [linear(2)])
    scaled = trained.outputs().double()
    u = torch.tensor(NUMBERS["u"], dtype=torch.float64)
    expected = torch.stack([scaled[:, 0] / 4 * 5 + 1, scaled[:, 1] * u.std(correction=0) + u.mean()], dim=1)
    outputs = torch.tensor(prediction(trained.model(), COLUMNS)["outputs"], dtype=torch.float64)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "more"),
    [("CrossEntropyLoss", []), ("NLLLoss", [LOG_SOFTMAX]), ("MultiMarginLoss", [])],
)
def test_classes_have_labels(loss: str, more: list[dict[str, Any]]) -> None:
    """The label is the class of the highest output; probabilities are given if the loss implies them."""
    trained = classifier(loss, *more)
    answer = prediction(trained.model(), COLUMNS)
    outputs = torch.tensor(answer["outputs"])
    names = sorted(set(SPECIES))
    assert answer["classes"] == names
    assert answer["labels"] == [names[i] for i in outputs.argmax(dim=1).tolist()]
    if loss == "MultiMarginLoss":
        assert "probabilities" not in answer
        return
    expected = outputs.exp() if loss == "NLLLoss" else outputs.softmax(dim=1)
    assert answer["probabilities"] == expected.tolist()
    assert [sum(row) for row in answer["probabilities"]] == pytest.approx([1.0] * 6)


def test_more_outputs_than_classes() -> None:
    """Surplus outputs, as models of earlier versions may have, are never predicted and have no class."""
    trained = classifier("CrossEntropyLoss", outputs=5)
    with torch.no_grad():
        trained.checkpoint.last.state["0.bias"][4] = 100.0
    answer = prediction(trained.model(), COLUMNS)
    assert set(answer["labels"]) <= set(SPECIES)
    assert len(answer["probabilities"][0]) == len(answer["classes"]) == 3
    assert list(read(as_csv(answer, trained.model().encoding))[0]) == [
        "label",
        "probability_setosa",
        "probability_versicolor",
        "probability_virginica",
    ]


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("loss", ["BCEWithLogitsLoss", "BCELoss", "MultiLabelSoftMarginLoss"])
def test_binary_targets(loss: str, width: int) -> None:
    """Binary losses give a probability for each output, and the label 1 for probabilities of at least 0.5."""
    targets = dict(list(YES_NO.items())[:width])
    more = [{"type": "Sigmoid"}] if loss == "BCELoss" else []
    trained = train(table(targets), [linear(width), *more], loss=loss)
    answer = prediction(trained.model(), COLUMNS)
    outputs = torch.tensor(answer["outputs"])
    probabilities = outputs if loss == "BCELoss" else outputs.sigmoid()
    assert answer["probabilities"] == probabilities.tolist()
    assert answer["labels"] == (probabilities >= 0.5).int().tolist()
    assert answer["classes"] == list(targets)


@pytest.mark.parametrize("labels", [("no", "yes"), (False, True)])
@pytest.mark.parametrize("loss", ["BCEWithLogitsLoss", "BCELoss"])
def test_two_class_names(loss: str, labels: tuple[Any, Any]) -> None:
    """A target of two class names has labels with these names and a probability for each class."""
    more = [{"type": "Sigmoid"}] if loss == "BCELoss" else []
    targets = {"t": [labels[value] for value in YES_NO["t"]]}
    model = train(table(targets), [linear(1), *more], loss=loss).model()
    answer = prediction(model, COLUMNS)
    outputs = torch.tensor(answer["outputs"])
    second = outputs if loss == "BCELoss" else outputs.sigmoid()
    assert outputs.shape == (6, 1)
    assert answer["classes"] == list(labels)
    assert answer["probabilities"] == torch.cat([1 - second, second], dim=1).tolist()
    assert answer["labels"] == [labels[int(p >= 0.5)] for (p,) in second.tolist()]


def test_tensors_have_numbered_classes() -> None:
    """Targets without names are numbered, if the columns of the outputs are targets."""
    data = {"inputs": [[1.0, 2.0], [3.0, 4.0]], "targets": [[0, 1], [1, 1]]}
    answer = prediction(
        train(data, [linear(2)], loss="BCEWithLogitsLoss").model(), {"inputs": data["inputs"]}
    )
    assert answer["classes"] == ["output_0", "output_1"]
    images = {"inputs": [[[1.0, 2.0]], [[3.0, 4.0]]], "targets": [[[0, 1]], [[1, 1]]]}
    answer = prediction(
        train(images, [linear(2)], loss="BCEWithLogitsLoss").model(), {"inputs": images["inputs"]}
    )
    assert "classes" not in answer
    assert torch.tensor(answer["probabilities"]).shape == (2, 1, 2)


def test_a_probability_of_one_half_is_label_1() -> None:
    """A logit of 0 is the label 1."""
    trained = train(table({"t": YES_NO["t"]}), [linear(1)], loss="BCEWithLogitsLoss")
    for tensor in trained.checkpoint.last.state.values():
        tensor.zero_()
    assert prediction(trained.model(), COLUMNS)["labels"] == [[1]] * 6


def test_many_rows_are_predicted_in_slices() -> None:
    """More rows than one slice give one output each, in order."""
    trained = train(table(NUMBERS), [linear(2)])
    count = 2 * SLICE_ROWS + 3
    a = torch.arange(count, dtype=torch.float32)
    answers = [*predict(trained.model(), {"inputs": torch.stack([a, -a], dim=1).tolist()})]
    outputs = [row for answer in answers for row in answer["outputs"]]
    with torch.no_grad():
        expected = trained.trainer.components.model(torch.stack([a, -a], dim=1))
    assert len(answers) == 3
    torch.testing.assert_close(torch.tensor(outputs), expected)
    # `a` is from 1 to 6 in training: from 12 on, rows are outside by more than the width of 5.
    assert ["warnings" in answer for answer in answers] == [False, False, True]
    (warning, _) = answers[-1]["warnings"]
    assert warning["pointer"] == "#/inputs"
    assert f"in {count - 12} of {count} rows, first in row 12 (12)" in warning["detail"]


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_slices_are_written_as_one_answer(tmp_path: Path, loss: str) -> None:
    """JSON and CSV files written in slices equal the answer for all rows at once."""
    model = classifier(loss).model()
    slices = [prediction(model, {"columns": {"a": [a, 1.0], "b": [2.0, a]}}) for a in (1.0, 3.0, 5.0)]
    whole = prediction(
        model, {"columns": {"a": [1.0, 1.0, 3.0, 1.0, 5.0, 1.0], "b": [2.0, 1.0, 2.0, 3.0, 2.0, 5.0]}}
    )
    write_json(tmp_path / "answer.json", slices)
    assert json.loads((tmp_path / "answer.json").read_text()) == whole
    write_csv(tmp_path / "answer.csv", slices, model.encoding)
    assert (tmp_path / "answer.csv").read_bytes() == as_csv(whole, model.encoding)
    assert len([*tmp_path.iterdir()]) == 2


def test_errors_of_all_slices_are_reported() -> None:
    """Unknown categories in different slices are reported together."""
    data = {
        "columns": {"a": FEATURES["a"], "kind": ["u", "v"] * 3, "t": NUMBERS["t"]},
        "features": ["a", "kind"],
        "targets": ["t"],
        "transforms": [{"columns": ["kind"], "type": "one_hot"}],
    }
    model = train(data, [linear(1, in_features=3)]).model()
    count = 2 * SLICE_ROWS
    kinds = ["u"] * count
    kinds[3] = kinds[-1] = "w"
    with pytest.raises(InvalidRequest) as raised:
        [*predict(model, {"columns": {"a": [1.0] * count, "kind": kinds}})]
    (error,) = raised.value.errors
    assert error.pointer == "#/columns/kind/3"
    assert f"The same is wrong in row {count - 1}." in error.detail


def test_dropout_and_batch_norm_are_in_eval_mode() -> None:
    """A prediction is deterministic and independent of other rows."""
    layers = [linear(4), {"type": "BatchNorm1d", "num_features": 4}, {"type": "Dropout"}, linear(2, 4)]
    model = train(table(NUMBERS), layers).model()
    everything = prediction(model, COLUMNS)["outputs"]
    assert prediction(model, COLUMNS)["outputs"] == everything
    one = prediction(model, {"columns": {"a": [1.0], "b": [3.0]}})["outputs"]
    assert one[0] == pytest.approx(everything[0], rel=1e-6)


def test_missing_columns_are_reported() -> None:
    """Each column that the model needs and the rows lack is an error."""
    model = train(table(NUMBERS), [linear(2)]).model()
    with pytest.raises(InvalidRequest) as raised:
        prediction(model, {"columns": {"A": [1.0], "c": [2.0]}})
    assert [error.detail for error in raised.value.errors] == [
        "The column `a` is missing: did you mean `A`?",
        "The column `b` is missing.",
    ]


def test_csv_of_values() -> None:
    """CSV has a column for each target, with the same values as JSON."""
    trained = train(table(NUMBERS), [linear(2)])
    answer = prediction(trained.model(), COLUMNS)
    rows = read(as_csv(answer, trained.model().encoding))
    assert list(rows[0]) == ["t", "u"]
    assert [[float(row["t"]), float(row["u"])] for row in rows] == answer["outputs"]


def test_csv_of_classes() -> None:
    """CSV of a classification has the label and a probability for each class."""
    trained = classifier("CrossEntropyLoss")
    answer = prediction(trained.model(), COLUMNS)
    rows = read(as_csv(answer, trained.model().encoding))
    assert [row["label"] for row in rows] == answer["labels"]
    columns = [f"probability_{name}" for name in sorted(set(SPECIES))]
    assert [[float(row[column]) for column in columns] for row in rows] == answer["probabilities"]


def test_csv_of_two_class_names() -> None:
    """CSV of two classes has label and probabilities; booleans are written as in JSON."""
    for labels, names in ((("no", "yes"), ["no", "yes"]), ((False, True), ["false", "true"])):
        targets = {"t": [labels[value] for value in YES_NO["t"]]}
        model = train(table(targets), [linear(1)], loss="BCEWithLogitsLoss").model()
        answer = prediction(model, COLUMNS)
        rows = read(as_csv(answer, model.encoding))
        assert list(rows[0]) == ["label", *(f"probability_{name}" for name in names)]
        assert [row["label"] for row in rows] == [names[labels.index(label)] for label in answer["labels"]]
        assert {row["label"] for row in rows} <= set(names)


def test_csv_of_tensors() -> None:
    """Outputs of tensors are numbered columns."""
    data = {"inputs": [[1.0, 2.0], [3.0, 4.0]], "targets": [[1.0, 2.0, 3.0]] * 2}
    trained = train(data, [linear(3)])
    answer = prediction(trained.model(), {"inputs": data["inputs"]})
    rows = read(as_csv(answer, trained.model().encoding))
    assert list(rows[0]) == ["output_0", "output_1", "output_2"]
    assert len(rows) == 2


def test_csv_columns_of_several_outputs_are_distinct() -> None:
    """A column whose name an earlier one has is numbered, so that no value is lost."""
    model = train(table(NUMBERS), [linear(2)]).model()
    outputs = {"y": [[1.0], [2.0]], "a": [[3.0, 4.0], [5.0, 6.0]], "a_0": [7.0, 8.0], "a_0_2": [9.0, 0.0]}
    body = as_csv({"outputs": outputs}, model.encoding)
    assert body.decode().split() == [
        "y,a_0,a_1,a_0_2,a_0_2_2",
        "1.0,3.0,4.0,7.0,9.0",
        "2.0,5.0,6.0,8.0,0.0",
    ]


def test_csv_columns_of_classes_are_distinct_from_outputs() -> None:
    """Outputs may be named like the columns of labels and probabilities."""
    model = classifier("CrossEntropyLoss").model()
    answer = prediction(model, COLUMNS)
    rows = len(answer["labels"])
    outputs = {"cls": answer["outputs"], "label": [1.0] * rows, "probability_setosa": [2.0] * rows}
    (first, *_) = read(as_csv({**answer, "outputs": outputs}, model.encoding))
    assert (first["label"], first["label_2"]) == ("1.0", answer["labels"][0])
    assert first["probability_setosa"] == "2.0"
    position = answer["classes"].index("setosa")
    assert float(first["probability_setosa_2"]) == answer["probabilities"][0][position]


def test_csv_columns_of_close_quantiles_are_distinct() -> None:
    """A quantile is written with all its digits."""
    model = train(table({"t": NUMBERS["t"]}), [linear(1)]).model()
    answer = {"outputs": [[1.0, 2.0]], "quantiles": [0.1234567, 0.1234568]}
    assert as_csv(answer, model.encoding).decode().split() == ["t_q0.1234567,t_q0.1234568", "1.0,2.0"]


def test_the_best_epochs_parameters_predict() -> None:
    """With `best`, the parameters of the best epoch are used, and the answer contains this epoch."""
    trained = train(
        table(NUMBERS, split={"validation": 2}),
        [linear(2)],
        optimizer={"type": "SGD", "lr": 0.01},
        scheduler={"type": "ExponentialLR", "gamma": 8.0},
        epochs=4,
    )
    best = trained.trainer.best
    assert best is not None
    assert best.epoch < 4
    assert prediction(trained.model(best=True), COLUMNS)["epoch"] == best.epoch
    assert prediction(trained.model(), COLUMNS)["epoch"] == 4
    assert not math.isclose(*(prediction(trained.model(b), COLUMNS)["outputs"][0][0] for b in (True, False)))


def test_outputs_that_are_no_log_probabilities_have_no_probabilities() -> None:
    """A probability is null, not above 1, where outputs break the rule of the loss, in JSON and CSV."""
    model = classifier("NLLLoss", {"type": "Identity"}).model()  # the check of a request would refuse it
    answer = prediction(model, COLUMNS)
    assert all(math.isnan(value) for row in answer["probabilities"] for value in row)
    assert set(answer["labels"]) <= set(SPECIES)
    (warning,) = answer["warnings"]
    assert "are not log-probabilities of the classes, as `NLLLoss` needs" in warning["detail"]
    rows = read(as_csv(answer, model.encoding))
    assert {row["probability_setosa"] for row in rows} == {""}


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_usual_predictions_have_no_warnings(loss: str) -> None:
    """Outputs that keep the rule of the loss have probabilities of at most 1, and no warning."""
    if loss.startswith("BCE"):
        more = [{"type": "Sigmoid"}] if loss == "BCELoss" else []
        model = train(table(YES_NO), [linear(2), *more], loss=loss).model()
    else:
        model = classifier(loss, *([LOG_SOFTMAX] if loss == "NLLLoss" else [])).model()
    answer = prediction(model, COLUMNS)
    assert "warnings" not in answer
    assert 0 <= min(map(min, answer["probabilities"])) <= max(map(max, answer["probabilities"])) <= 1


IDS = {"order": ["007", "8", "9", "a", "b", None], "number": [2**53 + 1, 2, 3, 4, 5, 6]}


def identified() -> Trained:
    """Train on rows with ids."""
    data = table(NUMBERS, split=IN_ORDER, id=list(IDS))
    return train({**data, "columns": {**data["columns"], **IDS}}, [linear(2)])


@pytest.mark.parametrize(
    "body",
    [
        {"columns": {**FEATURES, **IDS}},
        {
            "rows": [
                dict(zip([*FEATURES, *IDS], row, strict=True))
                for row in zip(*FEATURES.values(), *IDS.values(), strict=True)
            ]
        },
        [
            dict(zip([*FEATURES, *IDS], row, strict=True))
            for row in zip(*FEATURES.values(), *IDS.values(), strict=True)
        ],
        {
            "dataframe_split": {
                "columns": [*FEATURES, *IDS],
                "data": [list(row) for row in zip(*FEATURES.values(), *IDS.values(), strict=True)],
            }
        },
    ],
    ids=["columns", "rows", "list", "dataframe_split"],
)
def test_ids_are_repeated(body: Any) -> None:
    """Ids are answered as they were sent: text as text, integers exactly; only those that were sent."""
    model = identified().model()
    assert prediction(model, body)["ids"] == IDS
    assert "ids" not in prediction(model, COLUMNS)
    only = {"columns": {**FEATURES, "number": [1.5, 2, True, "x", None, -1]}}
    assert prediction(model, only)["ids"] == {"number": [1.5, 2, True, "x", None, -1]}


def test_ids_of_a_stored_dataset() -> None:
    """A dataset has numbers in double precision; whole ones are answered as integers."""
    model = identified().model()
    stored = read_json({"columns": {**FEATURES, "order": [1, 2, 3, 4, 5.5, None]}})
    assert prediction(model, stored)["ids"] == {"order": [1, 2, 3, 4, 5.5, None]}


@pytest.mark.parametrize(
    ("ids", "pointer", "detail"),
    [
        ([1, 2], "#/columns/order", "`order` identifies 6 rows; found 2 values."),
        ("a", "#/columns/order", '`order` identifies 6 rows; found "a".'),
        (
            [1, 2, [3], 4, 5, 6],
            "#/columns/order/2",
            "An id must be text, a number or a boolean; found a list.",
        ),
    ],
)
def test_invalid_ids(ids: Any, pointer: str, detail: str) -> None:
    """A column of ids that does not fit the rows is refused."""
    with pytest.raises(InvalidRequest) as raised:
        prediction(identified().model(), {"columns": {**FEATURES, "order": ids}})
    assert [(error.pointer, error.detail) for error in raised.value.errors] == [(pointer, detail)]


def test_ids_are_the_first_columns_of_csv(tmp_path: Path) -> None:
    """CSV starts with the ids; answers in slices are joined."""
    model = identified().model()
    whole = prediction(model, {"columns": {**FEATURES, **IDS}})
    first = as_csv(whole, model.encoding).decode().splitlines()
    assert first[0] == "order,number,t,u"
    assert first[1].startswith("007,9007199254740993,")
    assert first[6].startswith(",6,")
    slices = [
        prediction(model, {"columns": {name: values[part] for name, values in {**FEATURES, **IDS}.items()}})
        for part in (slice(0, 2), slice(2, 6))
    ]
    write_json(tmp_path / "answer.json", slices)
    joined = json.loads((tmp_path / "answer.json").read_text())
    assert joined["ids"] == IDS
    assert len(joined["outputs"]) == 6
    write_csv(tmp_path / "answer.csv", slices, model.encoding)
    assert (tmp_path / "answer.csv").read_bytes() == as_csv(joined, model.encoding)


def test_ids_of_dataframe_split_are_checked() -> None:
    """An error names the cell by the positions of its row and column."""
    split = {"columns": ["a", "b", "order"], "data": [[1, 2, "x"], [3, 4, {"y": 1}]]}
    with pytest.raises(InvalidRequest) as raised:
        prediction(identified().model(), {"dataframe_split": split})
    assert [error.pointer for error in raised.value.errors] == ["#/dataframe_split/data/1/2"]


def test_ids_in_csv_are_no_formulas() -> None:
    """Text that a spreadsheet would run is escaped, as in other columns; numbers stay numbers."""
    model = identified().model()
    ids = {"order": ["=1+1", "-2", "c", "d", "e", "f"], "number": [-1, 2.5, 3, 4, 5, 6]}
    answer = prediction(model, {"columns": {**FEATURES, **ids}})
    first = [line.split(",")[:2] for line in as_csv(answer, model.encoding).decode().splitlines()]
    assert first[1:3] == [["'=1+1", "-1"], ["'-2", "2.5"]]
    kept = as_csv(answer, model.encoding, keep_formulas=True).decode().splitlines()
    assert kept[1].startswith("=1+1,-1,")
