"""Weights of rows, missing targets and columns of ids in the data section."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.datasets.dataset import TensorDataset
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import JobDatasets, prepare
from service.datasets.prepare.workspace import SpillingWorkspace
from service.datasets.sources.json import read_json
from tests.support.field_errors import refusal
from tests.support.preparation import prepared, refused
from tests.support.thermometer import declared

IN_ORDER = {"shuffle": False}
TABLE: dict[str, Any] = {
    "columns": {
        "order": ["a7", "a8", "a9", "b1"],
        "x": [0, 1, 2, 3],
        "y": [1, 2, 3, 4],
        "z": [5, 6, 7, 8],
        "w": [1, 0, 2.5, 3],
    },
    "features": ["x"],
    "targets": ["y", "z"],
    "split": IN_ORDER,
}
TENSORS: dict[str, Any] = {"inputs": [[0], [1], [2]], "targets": [[1], [2], [3]], "split": IN_ORDER}


def table(changes: dict[str, list[Any]], **section: Any) -> dict[str, Any]:
    """Return the section of a table with some columns changed."""
    return {**TABLE, "columns": {**TABLE["columns"], **changes}, **section}


def test_without_them_nothing_is_added() -> None:
    """Samples have no weights and no missing targets, and the encoding no ids, unless they are declared."""
    data = prepared(TABLE)
    assert data.train.weights is None
    assert len(data.train.tensors) == 2
    assert (data.encoding.weights, data.encoding.id, data.encoding.masks_targets) == (None, (), False)


def test_an_older_encoding_has_none() -> None:
    """An encoding that was stored before these fields existed is read without them."""
    document = prepared(TABLE).encoding.to_document()
    older = {name: document[name] for name in document if name not in ("weights", "id", "masks_targets")}
    assert Encoding.from_document(older) == prepared(TABLE).encoding


@pytest.mark.parametrize("mapped", [False, True])
def test_weights_belong_to_their_rows(mapped: bool, tmp_path: Path) -> None:
    """Each split has the weights of its rows, also if rows are dropped and the inputs are mapped files."""
    section = table(
        {"y": [1, None, 3, 4], "w": [1, None, 2.5, 3]},
        weights="w",
        transforms=[{"type": "drop_rows", "columns": ["y"]}],
        split={"validation": 1, "seed": 3},
    )
    data = prepared(section, workspace=SpillingWorkspace(tmp_path, 0) if mapped else None)
    assert data.validation is not None
    found = {}
    for split in (data.train, data.validation):
        rows = split.take(slice(0, split.rows))
        assert rows.weights is not None
        assert rows.weights.dtype is torch.float32
        found |= dict(zip(rows.inputs[0][:, 0].tolist(), rows.weights.tolist(), strict=True))
    assert found == {0: 1.0, 2: 2.5, 3: 3.0}
    assert data.encoding.features == ("x",)


def test_weights_may_be_booleans() -> None:
    """True is the weight 1, false leaves the row out of the loss."""
    data = prepared(table({"w": [True, False, True, True]}, weights="w"))
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [1, 0, 1, 1]


def test_weights_of_tensors_are_beside_them() -> None:
    """The weights of tensors are `weights`; a dataset keeps them in its file."""
    section = {**TENSORS, "weights": [1, 2, 0]}
    data = prepared(section)
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [1, 2, 0]
    dataset = read_json(section)
    assert isinstance(dataset, TensorDataset)
    assert dataset.digest != TensorDataset(dataset.inputs, dataset.targets).digest
    by_id = prepare(JobDatasets(dataset), declared(dataset_id="ds_1", split=IN_ORDER), "values")
    assert by_id.train.weights is not None
    assert by_id.train.weights.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("weights", "detail"),
    [
        ([1, -0.5, 2, 3], "`w` in row 1 is -0.5; a weight must be 0 or more."),
        ([1, 1, None, 3], "`w` in row 2 is missing; give every row a weight"),
        ([0, 0, 0, 0], "All weights of the training rows are 0"),
        ([1, 1, 1, 1e39], "`w` in row 3 is too large for float32"),
        ([1e-42, 0, 0, 0], "have a sum of 1e-42, less than 1.2e-38, the least in float32; only their ratios"),
        ([1e-50] * 4, "are 0, or less than 1.2e-38"),
        ([3e38, 3e38, 3e38, 1], "too large: their sum exceeds the range of float32"),
        (["1", "2", "a", "b"], "`w` is categorical; weights must be numbers"),
    ],
)
def test_invalid_weights(weights: list[Any], detail: str) -> None:
    """Negative, missing, infinite and textual weights are refused, and those that are all 0."""
    assert detail in refused(table({"w": weights}, weights="w"))["#/data/weights"]


def test_each_split_needs_a_weight() -> None:
    """A split in which all weights are 0 has no loss."""
    section = table({"w": [1, 1, 1, 0]}, weights="w", split={"validation": 1, "shuffle": False})
    assert "All weights of the validation rows are 0" in refused(section)["#/data/weights"]


@pytest.mark.parametrize(
    ("weights", "pointer"),
    [([1, 2], "#/data/weights"), ([[1], [2], [3]], "#/data/weights"), ([1, None, 2], "#/data/weights/1")],
)
def test_invalid_weights_of_tensors(weights: list[Any], pointer: str) -> None:
    """Weights of tensors have the shape [B], and none is missing."""
    assert [*refused({**TENSORS, "weights": weights})] == [pointer]


def test_names_of_weights_of_a_tensor_dataset() -> None:
    """The weights of a tensor dataset are its array `weights`, and no other."""
    for weights, detail in ((None, "has no array `weights`"), (np.ones(3), "give this name or none")):
        dataset = TensorDataset({"input": np.ones((3, 1))}, np.ones((3, 1)), weights)
        section = declared(dataset_id="ds_1", weights="v")
        errors = refusal(lambda: prepare(JobDatasets(dataset), section, "values"))  # noqa: B023
        assert detail in errors["#/data/weights"]


def test_a_column_has_one_use() -> None:
    """A feature or target is neither a weight nor an id; each unknown name is reported."""
    errors = refused({**TABLE, "weights": "y", "id": ["x", "ordre"]})
    assert "already used at #/data/targets/0; weights are neither" in errors["#/data/weights"]
    assert "already used at #/data/features/0; an id is neither" in errors["#/data/id/0"]
    assert "did you mean `order`" in errors["#/data/id/1"]
    assert len(errors) == 3


def test_ids_are_no_features() -> None:
    """Columns of ids are in the encoding, with their types, and in no tensor; one may be given by itself."""
    data = prepared({**TABLE, "id": "order"})
    assert data.encoding.id == ("order",)
    assert data.encoding.types["order"] == "categorical"
    assert data.encoding.features == ("x",)


def test_a_whole_split_has_weights_too() -> None:
    """A dataset that is a whole split needs the column of weights, but no ids."""
    section = declared(**{**TABLE, "weights": "w", "id": ["order"]})
    other = {name: values for name, values in TABLE["columns"].items() if name != "order"}
    train = read_json(TABLE)
    data = prepare(JobDatasets(train, {"validation": read_json({"columns": other})}), section, "values")
    assert data.validation is not None
    assert data.validation.weights is not None
    assert data.validation.weights.tolist() == [1, 0, 2.5, 3]
    del other["w"]
    datasets = JobDatasets(train, {"validation": read_json({"columns": other})})
    errors = refusal(lambda: prepare(datasets, section, "values"))
    assert errors == {"#/data/split/validation_dataset_id": "The dataset has no column `w`."}


GAPS = {"y": [1, None, None, 4], "z": [5, 6, None, 9]}


def test_missing_targets_are_an_error_by_default() -> None:
    """The error of a missing target names both remedies."""
    errors = refused(table(GAPS))
    assert '"drop_rows"' in errors["#/data/targets/0"]
    assert '`data.missing_targets` to "mask"' in errors["#/data/targets/0"]


def test_masked_targets_are_nan() -> None:
    """Missing targets are NaN, after transforms that are fitted on the present ones."""
    standardize = {"type": "standardize", "columns": ["z"]}
    data = prepared(table(GAPS, missing_targets="mask", transforms=[standardize]))
    z = (np.array([5, 6, 9]) - np.mean([5, 6, 9])) / np.std([5, 6, 9])
    expected = [[1, z[0]], [math.nan, z[1]], [math.nan, math.nan], [4, z[2]]]
    torch.testing.assert_close(
        data.train.targets, torch.tensor(expected, dtype=torch.float32), equal_nan=True
    )
    assert [warning.detail for warning in data.warnings] == [
        "1 training row has no target at all, and has no part in the loss."
    ]


def test_two_labels_may_be_missing() -> None:
    """A target of two labels is NaN where it is missing, and its labels are the present ones."""
    section = table({"y": ["no", "yes", None, "yes"]}, targets=["y"], missing_targets="mask")
    data = prepared(section, "binary")
    assert data.encoding.classes == ("no", "yes")
    expected = torch.tensor([[0.0], [1.0], [math.nan], [1.0]])
    torch.testing.assert_close(data.train.targets, expected, equal_nan=True)


def test_targets_of_tensors_may_be_missing() -> None:
    """In tensors, null and NaN are missing targets."""
    section = {**TENSORS, "targets": [[1, None], [None, 2], [3, 4]]}
    assert "has 2 missing values, the first in row 0" in refused(section)["#/data/targets"]
    data = prepared({**section, "missing_targets": "mask"})
    expected = torch.tensor([[1, math.nan], [math.nan, 2], [3, 4]])
    torch.testing.assert_close(data.train.targets, expected, equal_nan=True)
    assert "row 1" in refused({**section, "targets": [1, None, 2]})["#/data/targets"]
    assert "row 1" in refused({**section, "targets": [1, None, 2]}, "classes")["#/data/targets"]


@pytest.mark.parametrize(
    ("columns", "split", "pointer", "detail"),
    [
        ({"z": [None] * 4}, IN_ORDER, "#/data/targets/1", "`z` is missing in every training row"),
        (
            {"y": [1, 2, 3, None], "z": [1, 2, 3, None]},
            {"validation": 1, "shuffle": False},
            "#/data/missing_targets",
            "All targets of the validation rows are missing",
        ),
    ],
)
def test_what_cannot_be_masked(
    columns: dict[str, list[Any]], split: dict[str, Any], pointer: str, detail: str
) -> None:
    """A target without a value to learn from, and a split without targets, are refused."""
    assert detail in refused(table(columns, missing_targets="mask", split=split))[pointer]


def test_classes_cannot_be_masked() -> None:
    """A row without a class has no part in a loss of classes: it can be dropped."""
    section = table({"y": ["a", "b", None, "a"]}, targets=["y"], missing_targets="mask")
    assert "drop such rows by `drop_rows`" in refused(section, "classes")["#/data/missing_targets"]
